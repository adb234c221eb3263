//! In which format `/metrics` is wanted, RFC 9110 section 12.5.1.

use hyper::header::{ACCEPT, HeaderMap};

/// Whether `OpenMetrics` is asked for, and not for less than the plain text that is sent otherwise.
///
/// Only by its name: whoever takes anything (`*/*`) gets what every version of every collector reads.
pub(super) fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1.0_f32, None);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            if version.is_none_or(|version| version == VERSION) {
                open_metrics = open_metrics.max(quality);
            }
        } else if name.eq_ignore_ascii_case("text/plain") {
            text = text.max(quality);
        }
    }
    open_metrics > 0.0 && open_metrics >= text
}

/// The version that is written.
const VERSION: &str = "1.0.0";

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn wants(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("it is a header"));
        wants_open_metrics(&headers)
    }

    #[test]
    fn open_metrics_is_for_those_who_name_it_and_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in
            [prometheus, "application/openmetrics-text", "Application/OpenMetrics-Text; Version=\"1.0.0\""]
        {
            assert!(wants(accept), "{accept}");
        }
        for accept in [
            "*/*",
            "text/plain",
            "",
            ",;=,;",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;q=0.4,text/plain;q=0.5",
        ] {
            assert!(!wants(accept), "{accept}");
        }
        assert!(!wants_open_metrics(&HeaderMap::new()));
    }
}
