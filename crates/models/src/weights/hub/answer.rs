//! Sends one request to the hub, on a thread of its own, so that the caller notices a stop at once even if the network is silent.
//! If the caller drops the answer, the thread ends with its next piece or its time-out.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tallow_core::{StopFlag, StopSignal};
use ureq::RequestBuilder;
use ureq::http::Uri;
use ureq::typestate::WithoutBody;

use super::options::HubOptions;

/// Interval at which the stop flag is checked while the network is silent.
pub(super) const STOP_POLL: Duration = Duration::from_millis(50);
const PIECE_BYTES: usize = 1 << 16;
/// Number of received pieces that may wait for the caller.
const MAX_WAITING: usize = 16;

/// Why an answer did not come, or broke off.
pub(super) enum Silence {
    Stopped(StopSignal),
    /// The connection failed; holds the network's error message.
    Lost(String),
}

/// The beginning of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_range: Option<String>,
}

enum Piece {
    Head(Head),
    Bytes(Vec<u8>),
    End,
}

/// An answer that is being received.
pub(super) struct Answer<'a> {
    pieces: Receiver<Result<Piece, String>>,
    stop: &'a StopFlag,
}

impl<'a> Answer<'a> {
    /// Sends `request`, follows redirects, and waits for the head of the answer. A status of failure is returned like any other.
    pub(super) fn to(
        request: RequestBuilder<WithoutBody>,
        options: &HubOptions,
        stop: &'a StopFlag,
    ) -> Result<(Head, Self), Silence> {
        let request = prepare(request, options);
        // digest and length are those of the uncompressed file
        let request = request.header("Accept-Encoding", "identity");
        let (sender, pieces) = sync_channel(MAX_WAITING);
        std::thread::spawn(move || {
            if let Err(reason) = transfer(request, &sender) {
                let _ = sender.send(Err(reason));
            }
        });
        let answer = Self { pieces, stop };
        match answer.wait()? {
            Piece::Head(head) => Ok((head, answer)),
            Piece::Bytes(_) | Piece::End => Err(Silence::Lost("an answer without a head".to_owned())),
        }
    }

    /// Returns the next bytes; `None` at the end.
    pub(super) fn bytes(&self) -> Result<Option<Vec<u8>>, Silence> {
        match self.wait()? {
            Piece::Bytes(bytes) => Ok(Some(bytes)),
            Piece::Head(_) | Piece::End => Ok(None),
        }
    }

    fn wait(&self) -> Result<Piece, Silence> {
        loop {
            if let Some(signal) = self.stop.raised() {
                return Err(Silence::Stopped(signal));
            }
            match self.pieces.recv_timeout(STOP_POLL) {
                Ok(piece) => return piece.map_err(Silence::Lost),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Silence::Lost("no more data came".to_owned()));
                }
            }
        }
    }
}

fn prepare(request: RequestBuilder<WithoutBody>, options: &HubOptions) -> RequestBuilder<WithoutBody> {
    let config = request
        .config()
        .http_status_as_error(false)
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.stall_timeout))
        .timeout_per_read(Some(options.stall_timeout));
    // loopback addresses need no proxy, even if the environment names one
    let config = if is_loopback(&options.endpoint) { config.proxy(None) } else { config };
    config.build()
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or("");
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Sends the answer piece by piece, until its end or until the receiver is dropped.
fn transfer(
    request: RequestBuilder<WithoutBody>,
    sender: &SyncSender<Result<Piece, String>>,
) -> Result<(), String> {
    let response = request.call().map_err(|e| e.to_string())?;
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let head = Head { status: response.status().as_u16(), content_range: range.map(str::to_owned) };
    let mut is_wanted = sender.send(Ok(Piece::Head(head))).is_ok();
    let mut body = response.into_body().into_reader();
    while is_wanted {
        let mut bytes = vec![0; PIECE_BYTES];
        let piece = match body.read(&mut bytes) {
            Ok(0) => {
                is_wanted = false;
                Piece::End
            }
            Ok(n) => {
                bytes.truncate(n);
                Piece::Bytes(bytes)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.to_string()),
        };
        is_wanted &= sender.send(Ok(piece)).is_ok();
    }
    Ok(())
}
