//! The admin server's two listeners: a TCP address and a Unix socket.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The daemon's user and group may connect; a change by this way needs no token.
const SOCKET_MODE: u32 = 0o660;
/// The socket's folder, when it has to be made: all may look, its permissions guard the socket itself.
const FOLDER_MODE: u32 = 0o755;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Why the admin server can't listen. Nothing was changed, but that the socket's folder may have been made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("`admin.listen`: port {} of {} is in use", .0.port(), .0.ip())]
    AddressInUse(SocketAddr),
    /// This host has no such address.
    #[error("`admin.listen`: this host has no address {}", .0.ip())]
    NoSuchAddress(SocketAddr),
    /// The port needs a privilege.
    #[error("`admin.listen`: no permission for port {}", .0.port())]
    PortForbidden(SocketAddr),
    /// Anything else about the TCP address.
    #[error("`admin.listen`: can't listen on {0}: {1}")]
    Tcp(SocketAddr, #[source] io::Error),
    /// Another daemon answers there; it is left alone. A reason to warn, not to stop.
    #[error("`admin.socket`: another daemon answers at `{}`", .0.display())]
    SocketAlive(PathBuf),
    /// Something that is no socket stands there; it is left alone.
    #[error("`admin.socket`: `{}` is there and no socket", .0.display())]
    NotASocket(PathBuf),
    /// Sockets' paths are short.
    #[error("`admin.socket`: `{}` is too long for a socket's path", .0.display())]
    PathTooLong(PathBuf),
    /// Anything else about the socket or its folder.
    #[error("`admin.socket`: can't listen at `{}`: {source}", .path.display())]
    Socket {
        /// Where it was to stand.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl BindError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::AddressInUse(_) => "stop what listens there, or choose another `admin.listen`",
            Self::NoSuchAddress(_) => "use `127.0.0.1:7781`, or an address that `ip addr` shows",
            Self::PortForbidden(_) => "use a port from 1024 on",
            Self::Tcp(..) => "choose another `admin.listen`, or `\"\"` for none",
            Self::SocketAlive(_) => "two nodes on one host need an `admin.socket` each",
            Self::NotASocket(_) => "remove it, or choose another `admin.socket`",
            Self::PathTooLong(_) => "a socket's path has 107 bytes at most",
            Self::Socket { .. } => {
                "choose an `admin.socket` in a folder that can be written, or `\"\"` for none"
            }
        }
    }
}

/// Listens on `address`; not blocking, and closed in child processes.
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse(address),
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress(address),
        io::ErrorKind::PermissionDenied => BindError::PortForbidden(address),
        _ => BindError::Tcp(address, error),
    })?;
    listener.set_nonblocking(true).map_err(|error| BindError::Tcp(address, error))?;
    Ok(listener)
}

/// A Unix socket that listens; its file is removed with it.
#[derive(Debug)]
pub struct SocketListener {
    listener: UnixListener,
    removal: Removal,
}

impl SocketListener {
    /// The listener, and what removes its file when dropped.
    pub(super) fn into_parts(self) -> (UnixListener, Removal) {
        (self.listener, self.removal)
    }
}

/// Removes a socket's file on drop, if it still is the one that was made.
#[derive(Debug)]
pub(super) struct Removal {
    path: PathBuf,
    /// Device and inode: by now another daemon's socket may stand at the path.
    identity: (u64, u64),
}

impl Drop for Removal {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.identity) {
            // It has been refusing connections since the listener was closed; left behind, it is only litter.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, for the daemon's user and group alone. Its folder is made if need be, what an earlier
/// life left there is replaced, and a socket that answers is left alone ([`BindError::SocketAlive`]).
pub fn bind_socket(path: &Path) -> Result<SocketListener, BindError> {
    let failed = |error| BindError::Socket { path: path.to_owned(), source: error };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(failed)?;
    if SockAddr::unix(path).is_err() {
        return Err(BindError::PathTooLong(path.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) if answers(path) => return Err(BindError::SocketAlive(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }

    // Made under another name and moved into place: never is there nothing at the path, nor something with
    // the wrong permissions. The name is short, because the path may be as long as a socket's path can be.
    let under_way = folder.join(format!("~{}", std::process::id()));
    let made = make(&under_way).and_then(|listener| {
        let made = fs::symlink_metadata(&under_way)?;
        fs::rename(&under_way, path)?;
        let removal = Removal { path: path.to_owned(), identity: (made.dev(), made.ino()) };
        Ok(SocketListener { listener, removal })
    });
    made.map_err(|error| {
        let _ = fs::remove_file(&under_way);
        failed(error)
    })
}

/// Nobody can connect before `listen`, and by then the permissions are right.
fn make(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether somebody listens; never waits, not even for a daemon that is stuck and has its queue full. Without
/// permission to ask, somebody's it is.
fn answers(path: &Path) -> bool {
    let asked = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
        .and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    match asked {
        Ok(()) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chinthe-bind-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder can be made");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_socket_has_its_folder_and_its_mode_and_goes_with_its_listener() {
        let folder = Folder::new("mode");
        let path = folder.0.join("run/chinthe/admin.sock");
        let bound = bind_socket(&path).expect("it can be bound");
        let there = fs::symlink_metadata(&path).expect("it is there");
        assert!(there.file_type().is_socket());
        assert_eq!(there.mode() & 0o777, SOCKET_MODE);
        assert!(UnixStream::connect(&path).is_ok());
        let beside = fs::read_dir(path.parent().expect("it has a folder")).expect("it can be read").count();
        assert_eq!(beside, 1, "the name under way is gone");
        drop(bound);
        assert!(fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("admin.sock");
        // Closed without removal, as after `kill -9`.
        drop(UnixListener::bind(&path).expect("it can be bound"));
        let _bound = bind_socket(&path).expect("nobody answers there");
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_live_socket_is_left_alone() {
        let folder = Folder::new("live");
        let path = folder.0.join("admin.sock");
        let first = bind_socket(&path).expect("it can be bound");
        let refused = bind_socket(&path).expect_err("the first answers there");
        assert!(matches!(refused, BindError::SocketAlive(_)), "{refused}");
        assert!(UnixStream::connect(&path).is_ok());
        drop(first);
        assert!(fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn another_ones_socket_is_not_removed() {
        let folder = Folder::new("other");
        let path = folder.0.join("admin.sock");
        let bound = bind_socket(&path).expect("it can be bound");
        fs::remove_file(&path).expect("it is there");
        let _other = UnixListener::bind(&path).expect("it can be bound");
        drop(bound);
        assert!(fs::symlink_metadata(&path).is_ok());
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let folder = Folder::new("file");
        let path = folder.0.join("admin.sock");
        fs::write(&path, "precious").expect("it can be written");
        let refused = bind_socket(&path).expect_err("a file is in the way");
        assert!(matches!(refused, BindError::NotASocket(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    }

    #[test]
    fn a_path_too_long_says_so() {
        let folder = Folder::new("long");
        let refused = bind_socket(&folder.0.join("x".repeat(120))).expect_err("it is too long");
        assert!(matches!(refused, BindError::PathTooLong(_)), "{refused}");
    }

    #[test]
    fn a_port_in_use_says_so_and_what_to_do() {
        let first = bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("any port");
        let address = first.local_addr().expect("it has one");
        let refused = bind_tcp(address).expect_err("the first listens there");
        assert_eq!(
            refused.to_string(),
            format!("`admin.listen`: port {} of 127.0.0.1 is in use", address.port())
        );
        assert!(refused.hint().contains("admin.listen"));
    }

    #[test]
    fn an_address_of_another_host_says_so() {
        let refused = bind_tcp("192.0.2.1:7781".parse().expect("an address")).expect_err("it isn't ours");
        assert!(matches!(refused, BindError::NoSuchAddress(_)), "{refused}");
    }
}
