//! How many requests were answered, by path and status code.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hyper::StatusCode;

/// Any path that there is nothing at: what strangers ask for makes no series.
const OTHER: &str = "other";

/// Each path, or `other`, with each status code and how many requests that makes.
pub type RequestCounts = Vec<(&'static str, u16, u64)>;

/// The counts since the start; paths and codes are the server's own, so there are few.
#[derive(Debug)]
pub(super) struct Requests(RefCell<BTreeMap<(&'static str, u16), u64>>);

impl Requests {
    /// Each of `paths` begins with no request that went well.
    pub(super) fn new(paths: impl Iterator<Item = &'static str>) -> Self {
        let ok = StatusCode::OK.as_u16();
        let missed = ((OTHER, StatusCode::NOT_FOUND.as_u16()), 0);
        Self(RefCell::new(paths.map(|path| ((path, ok), 0)).chain([missed]).collect()))
    }

    /// Counts one; `None` is a path that there is nothing at.
    pub(super) fn count(&self, path: Option<&'static str>, code: StatusCode) {
        *self.0.borrow_mut().entry((path.unwrap_or(OTHER), code.as_u16())).or_default() += 1;
    }

    pub(super) fn counts(&self) -> RequestCounts {
        self.0.borrow().iter().map(|((path, code), count)| (*path, *code, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_there_from_the_start_and_no_stranger_s() {
        let requests = Requests::new(["/", "/metrics"].into_iter());
        requests.count(Some("/metrics"), StatusCode::OK);
        requests.count(Some("/metrics"), StatusCode::METHOD_NOT_ALLOWED);
        requests.count(None, StatusCode::NOT_FOUND);
        requests.count(None, StatusCode::NOT_FOUND);
        let counts = [("/", 200, 0), ("/metrics", 200, 1), ("/metrics", 405, 1), ("other", 404, 2)];
        assert_eq!(requests.counts(), counts);
    }
}
