//! The connections between the ranks: sends and receives messages, and notices a rank that died or hangs.
//!
//! A thread for each other rank reads what comes, so that sending never waits for the other side's operation. One more thread
//! gives a sign of life each second, also while this rank computes. An operation that waits for a message fails as soon as any
//! rank is lost, since all ranks depend on each other.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Traffic;
use crate::error::CommError;
use crate::frame::{self, Kind};

/// Time between two signs of life.
const BETWEEN_BEATS: Duration = Duration::from_secs(1);

/// Time between two looks at the other ranks while an operation waits.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Time that a reason may take to arrive after a connection has ended.
const FOR_REASONS: Duration = Duration::from_millis(200);

/// Why nothing more comes from a rank.
#[derive(Debug)]
enum End {
    /// It said that it is done.
    Bye,
    /// It said why it fails.
    Fail(String),
    /// The connection broke.
    Broken(String),
}

/// What the threads know about another rank.
#[derive(Debug, Default)]
struct Signs {
    end: OnceLock<End>,
    /// When something last came from it, in milliseconds after the start.
    heard_ms: AtomicU64,
}

/// Another rank.
#[derive(Debug)]
struct Peer {
    rank: usize,
    out: Mutex<TcpStream>,
    inbox: Mutex<Receiver<Vec<u8>>>,
    signs: Arc<Signs>,
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    start: Instant,
    for_life: Duration,
    is_over: AtomicBool,
    peers: Vec<Peer>,
}

/// The connections to all other ranks.
#[derive(Debug)]
pub(crate) struct Mesh {
    rank: usize,
    shared: Arc<Shared>,
    sent_bytes: AtomicU64,
    waited_us: AtomicU64,
    stalled_us: AtomicU64,
    has_failed: AtomicBool,
}

impl Mesh {
    /// Starts the threads over the connections to the other ranks. A rank from which nothing comes for `for_life` is lost.
    pub(crate) fn start(
        rank: usize,
        streams: Vec<Option<TcpStream>>,
        for_life: Duration,
    ) -> Result<Self, CommError> {
        let start = Instant::now();
        let mut peers = Vec::new();
        for (other, stream) in streams.into_iter().enumerate() {
            let Some(stream) = stream else { continue };
            stream.set_write_timeout(Some(for_life)).map_err(CommError::Setup)?;
            let input = stream.try_clone().map_err(CommError::Setup)?;
            let (sender, inbox) = channel();
            let signs = Arc::new(Signs::default());
            let of_reader = Arc::clone(&signs);
            spawn(format!("from rank {other}"), move || read_all(input, &sender, &of_reader, start))?;
            peers.push(Peer { rank: other, out: Mutex::new(stream), inbox: Mutex::new(inbox), signs });
        }
        let shared = Arc::new(Shared { start, for_life, is_over: AtomicBool::new(false), peers });
        let of_beats = Arc::clone(&shared);
        spawn("signs of life".into(), move || of_beats.beat())?;
        let (sent_bytes, waited_us, stalled_us, has_failed) = Default::default();
        Ok(Self { rank, shared, sent_bytes, waited_us, stalled_us, has_failed })
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    pub(crate) fn world(&self) -> usize {
        self.shared.peers.len() + 1
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            waited_secs: self.waited_us.load(Ordering::Relaxed) as f64 / 1e6,
            stalled_secs: self.stalled_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }

    pub(crate) fn count_stall(&self, time: Duration) {
        self.stalled_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn peer(&self, rank: usize) -> &Peer {
        // the own rank has no peer
        &self.shared.peers[if rank < self.rank { rank } else { rank - 1 }]
    }

    /// Sends `bytes` to `rank`.
    pub(crate) fn send(&self, rank: usize, bytes: &[u8]) -> Result<(), CommError> {
        let peer = self.peer(rank);
        let sent = frame::write(&mut *locked(&peer.out), Kind::Data, bytes);
        self.sent_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        sent.map_err(|error| {
            let reason = format!("it takes no messages ({error})");
            self.explained(CommError::Gone { rank, reason }, rank)
        })
    }

    /// Waits for the next message of `rank`.
    pub(crate) fn receive(&self, rank: usize) -> Result<Vec<u8>, CommError> {
        let started = Instant::now();
        let inbox = locked(&self.peer(rank).inbox);
        let message = loop {
            match inbox.recv_timeout(BETWEEN_LOOKS) {
                Ok(message) => break Ok(message),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(lost) = self.shared.lost(Some(rank)) {
                        break Err(self.explained(lost, rank));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let reason = "the connection ended".to_owned();
                    break Err(self.explained(CommError::Gone { rank, reason }, rank));
                }
            }
        };
        self.waited_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        message
    }

    /// Counts bytes that were sent another way, and the time that it took.
    #[cfg(feature = "mpi")]
    pub(crate) fn count(&self, n_bytes: usize, waited: Duration) {
        self.sent_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
        self.waited_us.fetch_add(waited.as_micros() as u64, Ordering::Relaxed);
    }

    /// Fails if a rank is lost, or `awaited` is done.
    #[cfg(feature = "mpi")]
    pub(crate) fn check(&self, awaited: usize) -> Result<(), CommError> {
        self.shared.lost(Some(awaited)).map_or(Ok(()), |lost| Err(self.explained(lost, awaited)))
    }

    /// Returns why ranks are lost, as one of them said. A rank that fails says so before others end because of it, but its word
    /// may come a little later than the end of their connections.
    fn explained(&self, lost: CommError, awaited: usize) -> CommError {
        if matches!(lost, CommError::Failed { .. }) {
            return lost;
        }
        thread::sleep(FOR_REASONS);
        self.shared.lost(Some(awaited)).unwrap_or(lost)
    }

    /// Tells all others why this rank fails, once.
    pub(crate) fn fail(&self, reason: &str) {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            self.shared.tell(Kind::Fail, reason.as_bytes());
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if !*self.has_failed.get_mut() {
            self.shared.tell(Kind::Bye, b"");
        }
        for peer in &self.shared.peers {
            // what was sent still arrives; the thread that reads ends when the other side has closed, too
            let _ = locked(&peer.out).shutdown(Shutdown::Write);
        }
    }
}

impl Shared {
    /// Sends a message to all. Who cannot be reached knows already.
    fn tell(&self, kind: Kind, content: &[u8]) {
        for peer in &self.peers {
            let _ = frame::write(&mut *locked(&peer.out), kind, content);
        }
    }

    /// Gives a sign of life each second.
    fn beat(&self) {
        let mut last = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            thread::sleep(BETWEEN_LOOKS);
            if last.elapsed() >= BETWEEN_BEATS {
                last = Instant::now();
                for peer in &self.peers {
                    // a long message that is being sent is a sign of life itself
                    if let Ok(mut out) = peer.out.try_lock() {
                        let _ = frame::write(&mut *out, Kind::Beat, b"");
                    }
                }
            }
        }
    }

    /// Returns the error of a rank that is lost, if any. A rank that is done is lost only for who waits for its message.
    fn lost(&self, awaited: Option<usize>) -> Option<CommError> {
        // a rank that says why it fails explains why others are gone
        let failed = self.peers.iter().find_map(|peer| match peer.signs.end.get() {
            Some(End::Fail(reason)) => Some(CommError::Failed { rank: peer.rank, reason: reason.clone() }),
            _ => None,
        });
        failed.or_else(|| {
            self.peers.iter().find_map(|peer| {
                let reason = match peer.signs.end.get() {
                    Some(End::Broken(reason)) => reason.clone(),
                    Some(End::Bye) if awaited == Some(peer.rank) => "it ended before the others".to_owned(),
                    Some(_) => return None,
                    None => self.silence(&peer.signs)?,
                };
                Some(CommError::Gone { rank: peer.rank, reason })
            })
        })
    }

    fn silence(&self, signs: &Signs) -> Option<String> {
        let heard = Duration::from_millis(signs.heard_ms.load(Ordering::Relaxed));
        let silent = self.start.elapsed().saturating_sub(heard);
        (silent > self.for_life).then(|| format!("no sign of life for {} s", silent.as_secs()))
    }
}

/// Reads all messages of a rank until it ends.
fn read_all(mut input: TcpStream, inbox: &Sender<Vec<u8>>, signs: &Signs, start: Instant) {
    let alive = || signs.heard_ms.store(start.elapsed().as_millis() as u64, Ordering::Relaxed);
    let end = loop {
        match frame::read(&mut input, alive) {
            Ok((Kind::Data, content)) => {
                if inbox.send(content).is_err() {
                    return; // this rank is done
                }
            }
            Ok((Kind::Beat, _)) => {}
            Ok((Kind::Bye, _)) => break End::Bye,
            Ok((Kind::Fail, reason)) => break End::Fail(String::from_utf8_lossy(&reason).into_owned()),
            // a process that is killed closes its connections, or resets those with messages that it has not read
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                break End::Broken("its process ended without a word".to_owned());
            }
            Err(error) => break End::Broken(error.to_string()),
        }
    };
    let _ = signs.end.set(end);
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), CommError> {
    thread::Builder::new().name(name).spawn(work).map(drop).map_err(CommError::Setup)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
