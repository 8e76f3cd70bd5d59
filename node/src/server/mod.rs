//! An HTTP/1.1 listener: accepts within a limit, and closes in order.
//!
//! Closing has three steps: the router puts `Connection: close` on every answer once the process is
//! draining, [`Connections::close_idle`] ends
//! connections that wait for a request and lets the others finish theirs, and
//! [`Connections::abort`] drops what is left.

pub mod connection;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use connection::{Connections, TimeLimits};

use crate::http::body::Body;

/// Connections that the system keeps while we are busy.
const BACKLOG: u32 = 1024;
/// Pause after an accept failed for want of a resource, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests.
pub trait Service: Clone + Send + Sync + 'static {
    /// The same for one connection, whose other end is `peer`.
    fn of_peer(self, _peer: SocketAddr) -> Self {
        self
    }

    /// The answer to one request.
    fn call(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send;
}

/// Takes an address, without accepting yet: a taken port is known before a long recovery.
pub fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // An old connection in TIME_WAIT must not keep a restarted node from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Starts to accept on a reserved address.
pub fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// Accepts until `stop` is set, each connection in a task of its own.
pub async fn accept<S: Service>(
    listener: TcpListener,
    service: S,
    connections: Arc<Connections>,
    max_connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = accept_one(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                // Answers are small and complete: waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                let connection = connection::run(
                    stream,
                    peer,
                    service.clone().of_peer(peer),
                    connections.clone(),
                );
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if is_one_connections_fault(&error) => {}
            Err(error) => {
                connections.accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::NotConnected))?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

fn is_one_connections_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests;
