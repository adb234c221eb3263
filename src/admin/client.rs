//! The client of `chinthe status` and its kin: one request to one node, with an end to its patience.

mod follow;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::request;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::administration::{Change, Words};
use super::events::Events;
use super::problem;
use super::reloading::Reloaded;
use super::status::Status;

pub use follow::follow_events;

/// For everything together; a node that is well answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// A status of a thousand backends seen by a hundred members has some 3 MB.
const ANSWER_BYTES: usize = 16 << 20;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The node on this host, by its Unix socket.
    Socket(PathBuf),
    /// Any node, by its admin address: host and port.
    Tcp(String, u16),
}

/// The port of an admin address that names none.
const DEFAULT_PORT: u16 = 7781;

/// An admin URL that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no admin URL")]
pub struct BadUrl(String);

impl BadUrl {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "it looks like `http://192.0.2.1:7781`"
    }
}

impl FromStr for Target {
    type Err = BadUrl;

    /// From `http://HOST:PORT`; scheme and port may be left out.
    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(text.to_owned());
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad());
        }
        let authority = uri.authority().ok_or_else(bad)?;
        let host = authority.host();
        // What stands before the host (a user's name) is refused with what isn't a port behind it.
        let port = match authority.as_str().strip_prefix(host).ok_or_else(bad)? {
            "" => DEFAULT_PORT,
            rest => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(bad)?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() { Err(bad()) } else { Ok(Self::Tcp(host.to_owned(), port)) }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "http://{host}:{port}"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or it can't be reached.
    #[error("no node can be asked at `{0}`: {reason}", reason = reason(.1))]
    Unreachable(Target, #[source] io::Error),
    /// It is there and doesn't answer.
    #[error("the node at `{0}` doesn't answer")]
    Silent(Target),
    /// It speaks something else, or too much of it.
    #[error("what answers at `{0}` is no chinthe node: {1}")]
    NotANode(Target, String),
    /// It answered with an error of its own.
    #[error("the node at `{target}` {}", refusal(*.status, .detail))]
    Refused {
        /// Who.
        target: Target,
        /// Of what kind the error is.
        status: StatusCode,
        /// The node's own sentence; empty if it says none.
        detail: String,
    },
    /// It was to read its configuration again, and goes on as before.
    #[error("{report}")]
    NotReloaded {
        /// Why, as operators read it: `error: …` and `hint: …` lines.
        report: String,
    },
    /// It told of events, and then it didn't any more.
    #[error("the node at `{0}` tells no more")]
    Ended(Target),
    /// This process can't even try.
    #[error("the request can't be made: {0}")]
    Local(#[from] io::Error),
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "ask as the daemon's user or group, or say `--admin http://HOST:7781`"
            }
            Self::Unreachable(Target::Socket(_), _) => {
                "is `chinthe run` running here? Another node can be asked with `--admin http://HOST:7781`"
            }
            Self::Unreachable(Target::Tcp(..), _) => {
                "is `admin.listen` there an address that can be reached from here?"
            }
            Self::NotReloaded { .. } => "`chinthe check FILE` judges a file before",
            Self::Ended(_) => "it may have stopped, or start anew",
            Self::Silent(_) => "its log may say what it is stuck on",
            Self::NotANode(..) => "the port is `admin.listen`'s, 7781 unless set",
            Self::Refused { status, detail, .. } => match *status {
                _ if detail.is_empty() => "is it of another version?",
                StatusCode::UNAUTHORIZED => "`--token-file FILE` says where the token is",
                StatusCode::FORBIDDEN => "on the node itself no token is needed",
                StatusCode::SERVICE_UNAVAILABLE => "`chinthe status` and its log may say why",
                _ => "`chinthe status` lists services, backends and nodes",
            },
            Self::Local(_) => "this host may be out of descriptors or memory",
        }
    }
}

/// Asks for the status: the document as the node sent it, and what it says. Blocks, for 5 s at most.
pub fn fetch_status(target: &Target) -> Result<(String, Status), ClientError> {
    let document = ask(target, Request::get("/api/v1/status"), String::new())?;
    let status = read(target, &document)?;
    Ok((document, status))
}

/// Asks for the events that the node still has. Blocks, for 5 s at most.
pub fn fetch_events(target: &Target) -> Result<Events, ClientError> {
    read(target, &ask(target, Request::get("/api/v1/events"), String::new())?)
}

/// Has a node take a change in: what then holds of the change's target. `token` is what the node wants to see
/// over TCP. Blocks, for 5 s at most; after [`ClientError::Silent`] the change may have been made or not.
pub fn change(target: &Target, token: Option<&str>, change: &Change) -> Result<Words, ClientError> {
    let mut request =
        Request::post("/api/v1/administration").header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    read(target, &ask(target, request, change.to_json())?)
}

/// Has a node read its configuration again, and then all others if `cluster` says so: what it goes on by. `token` is
/// as for [`change`].
///
/// A file that it won't go on by is [`ClientError::NotReloaded`]. Blocks, for 5 s at most; after [`ClientError::Silent`] it may have been done or not.
pub fn reload(target: &Target, token: Option<&str>, cluster: bool) -> Result<Reloaded, ClientError> {
    let mut request = Request::post(if cluster { "/api/v1/reload?cluster" } else { "/api/v1/reload" });
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    match ask(target, request, String::new()) {
        Err(ClientError::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, detail, .. }) => {
            Err(ClientError::NotReloaded { report: detail })
        }
        answer => read(target, &answer?),
    }
}

fn read<T: serde::de::DeserializeOwned>(target: &Target, document: &str) -> Result<T, ClientError> {
    serde_json::from_str(document).map_err(|error| ClientError::NotANode(target.clone(), error.to_string()))
}

/// One request and the body of its answer.
fn ask(target: &Target, request: request::Builder, body: String) -> Result<String, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, send(target, request, body))
            .await
            .unwrap_or_else(|_| Err(ClientError::Silent(target.clone())))
    });
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    answer
}

async fn send(target: &Target, request: request::Builder, body: String) -> Result<String, ClientError> {
    let strange = |why: String| ClientError::NotANode(target.clone(), why);
    let (mut sender, connection) = connect(target).await?;
    let request = complete(target, request, body)?;
    let conversation = async {
        let answer = sender.send_request(request).await.map_err(|error| strange(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(refusal_of(target, answer).await?);
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES);
        let bytes = body.collect().await.map_err(|error| strange(error.to_string()))?.to_bytes();
        String::from_utf8(bytes.into()).map_err(|error| strange(error.to_string()))
    };
    // The connection has to be driven beside the conversation; what ends it, the conversation hears.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = conversation => answer,
        never = driven => never,
    }
}

/// A node's own error.
async fn refusal_of(target: &Target, answer: Response<Incoming>) -> Result<ClientError, ClientError> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| ClientError::NotANode(target.clone(), error.to_string()))?;
    let detail = problem::detail(&body.to_bytes()).unwrap_or_default();
    Ok(ClientError::Refused { target: target.clone(), status, detail })
}

/// A way of bytes, whatever it is made of.
trait Way: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Way for S {}

/// A connection, and the one request that goes over it.
type Connection = http1::Connection<TokioIo<Box<dyn Way>>, Full<Bytes>>;

async fn connect(target: &Target) -> Result<(http1::SendRequest<Full<Bytes>>, Connection), ClientError> {
    let unreachable = |error| ClientError::Unreachable(target.clone(), error);
    let way: Box<dyn Way> = match target {
        Target::Socket(socket) => Box::new(UnixStream::connect(socket).await.map_err(unreachable)?),
        Target::Tcp(host, port) => {
            Box::new(TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?)
        }
    };
    let shaken = http1::handshake(TokioIo::new(way)).await;
    shaken.map_err(|error| ClientError::NotANode(target.clone(), error.to_string()))
}

fn complete(
    target: &Target,
    request: request::Builder,
    body: String,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let host = match target {
        Target::Socket(_) => "localhost",
        Target::Tcp(host, _) => host,
    };
    let request = request.header(header::HOST, host).body(Full::from(body));
    request.map_err(|error| ClientError::NotANode(target.clone(), error.to_string()))
}

/// How a node's error ends the sentence that begins with the node.
fn refusal(status: StatusCode, detail: &str) -> String {
    if detail.is_empty() { format!("answers {status}") } else { format!("refuses: {detail}") }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::admin::status;

    fn tcp(host: &str, port: u16) -> Target {
        Target::Tcp(host.to_owned(), port)
    }

    #[test]
    fn an_admin_url_may_leave_out_scheme_and_port() {
        assert_eq!("http://192.0.2.1:80/".parse(), Ok(tcp("192.0.2.1", 80)));
        assert_eq!("ha1".parse(), Ok(tcp("ha1", 7781)));
        assert_eq!("http://[::1]".parse(), Ok(tcp("::1", 7781)));
    }

    #[test]
    fn what_isnt_an_admin_url_is_refused() {
        for text in
            ["", "https://ha1", "http://ha1/metrics", "http://", "ha1:port", "me@ha1", "http://ha1?x", "a b"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    /// A server of one answer, and what its client makes of it.
    fn answered(answer: Vec<u8>) -> Result<(String, Status), ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("any port");
        let port = listener.local_addr().expect("it has one").port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client comes");
            let mut head = [0; 1024];
            let length = stream.read(&mut head).expect("a request");
            let _ = stream.write_all(&answer);
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let result = fetch_status(&Target::Tcp("127.0.0.1".to_owned(), port));
        let request = server.join().expect("no panic");
        assert!(request.starts_with("GET /api/v1/status HTTP/1.1\r\n"), "{request}");
        result
    }

    #[test]
    fn a_status_arrives_as_it_was_sent() {
        let body = status::tests::SAMPLE;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (document, status) = answered(answer.into_bytes()).expect("a status");
        assert_eq!(document, body);
        assert_eq!(status.node, "ha1");
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let body = status::tests::SAMPLE;
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
        assert!(answered(answer.into_bytes()).is_ok());
    }

    #[test]
    fn other_answers_are_told_apart() {
        let answers: [(&[u8], &str); 5] = [
            (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "answers 503"),
            (b"HTTP/1.1 503 Oh\r\nContent-Length: 17\r\n\r\n{\"detail\":\"full\"}", "refuses: full"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "no chinthe node"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "no chinthe node"),
            (b"", "no chinthe node"),
        ];
        for (answer, words) in answers {
            let error = answered(answer.to_vec()).expect_err("no status").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_a_way_out() {
        let missing = std::env::temp_dir().join(format!("chinthe-no-socket-{}", std::process::id()));
        let error = fetch_status(&Target::Socket(missing)).expect_err("nobody is there");
        assert!(matches!(error, ClientError::Unreachable(..)), "{error}");
        assert!(error.hint().contains("chinthe run"));
    }
}
