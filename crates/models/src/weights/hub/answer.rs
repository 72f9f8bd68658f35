//! One request to the hub, on a thread of its own: whoever waits for the answer notices a stop at once, however silent
//! the network is. A thread that nobody listens to any more ends with its next piece or its time-out.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tallow_core::{StopFlag, StopSignal};
use ureq::RequestBuilder;
use ureq::http::Uri;
use ureq::typestate::WithoutBody;

use super::options::HubOptions;

/// How often the stop flag is looked at while the network is silent.
pub(super) const STOP_POLL: Duration = Duration::from_millis(50);
const PIECE_BYTES: usize = 1 << 16;
/// Pieces that may wait to be taken.
const MAX_WAITING: usize = 16;

/// Why there is no answer, or no more of it.
pub(super) enum Silence {
    Stopped(StopSignal),
    /// And what the network said.
    Lost(String),
}

/// How an answer begins.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_range: Option<String>,
}

enum Piece {
    Head(Head),
    Bytes(Vec<u8>),
    End,
}

/// An answer on its way.
pub(super) struct Answer<'a> {
    pieces: Receiver<Result<Piece, String>>,
    stop: &'a StopFlag,
}

impl<'a> Answer<'a> {
    /// Sends `request`, follows redirects, and waits for the head of the answer, whatever its status.
    pub(super) fn to(
        request: RequestBuilder<WithoutBody>,
        options: &HubOptions,
        stop: &'a StopFlag,
    ) -> Result<(Head, Self), Silence> {
        let request = prepare(request, options);
        // the bytes that the digest is of, and their number, are those of the file as it is
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

    /// The next bytes; `None` at the end.
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
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Lost("no more came".to_owned())),
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
    // this machine is not reached through a proxy, whatever the environment says
    let config = if is_loopback(&options.endpoint) { config.proxy(None) } else { config };
    config.build()
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or("");
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Hands the answer over piece by piece, as long as somebody takes it.
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
