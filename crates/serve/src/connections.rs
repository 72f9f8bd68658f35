//! Accepts connections and speaks HTTP/1.1 on them, with limits on their number and on the time for the head of a request. The
//! limits on bodies are in `body`.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::limits::Limits;

/// Time before the next attempt if the system has no socket to spare.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers requests at `listener` by `router` until `end`. Then accepts no more, and returns when the open requests are answered.
pub(crate) async fn answer(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    end: impl Future<Output = ()>,
) {
    let free = Arc::new(Semaphore::new(limits.n_connections));
    let open = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.max_head_time);
    let mut end = pin!(end);
    loop {
        let next = async {
            let place = Arc::clone(&free).acquire_owned().await.expect("the semaphore is never closed");
            (accept(&listener).await, place)
        };
        let (stream, place) = tokio::select! {
            next = next => next,
            () = &mut end => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _ = connection.await; // the client has gone, or sent nothing for too long: there is nobody to tell
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

/// Returns the next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // sends answers at once; if this fails, they are only later
                return stream;
            }
            Err(e) if is_of_one_connection(&e) => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Whether only the connection that was to be accepted has failed.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
