//! A web server for one directory: what stands before a web root that challenges are put into.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A listening server; it ends on drop.
pub struct Web {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Web {
    /// Serves `/.well-known/acme-challenge/TOKEN` from the files of this directory.
    pub fn serve(address: SocketAddr, directory: &Path) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, directory) = (Arc::clone(&ended), directory.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    // A client that leaves in the middle is no failure of the test.
                    let _ = answer(stream, &directory);
                }
            }
        });
        Self { address, ended }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn answer(mut stream: TcpStream, directory: &Path) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut request)?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let file: Option<PathBuf> = path
        .strip_prefix("/.well-known/acme-challenge/")
        .filter(|token| !token.contains('/') && !token.starts_with('.'))
        .map(|token| directory.join(token));
    match file.and_then(|file| fs::read(file).ok()) {
        Some(body) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )?;
            stream.write_all(&body)
        }
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}
