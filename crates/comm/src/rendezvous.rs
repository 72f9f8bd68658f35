//! Connects every rank with every other one.
//!
//! ```text
//! rank 0: listens at MASTER_ADDR:MASTER_PORT    others: listen at a free port, connect to rank 0, say who they are and where
//! rank 0: sends the list of all addresses, once all are there
//! others: connect to the ranks below their own, accept those above
//! ```
//!
//! A connection that does not begin as one of ours is dropped: anybody can reach a port.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::Patience;
use crate::error::CommError;
use crate::frame::{self, Kind};
use crate::launch::Launch;

/// The first word of a connection. The number changes with the protocol.
const MAGIC: &str = "tallow-comm-1";

/// Size limit of the first message, in bytes.
const MAX_HELLO_BYTES: u64 = 1 << 16;

/// How long a new connection may take to say who it is.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// Time between two attempts to connect or accept.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// What a rank says of itself when it connects.
struct Hello {
    rank: usize,
    world: usize,
    /// The port at which it waits for the ranks above it.
    port: u16,
    greeting: String,
}

/// Returns the connection to each rank; that to the own rank is missing.
pub(crate) fn meet(
    launch: &Launch,
    greeting: &str,
    patience: Patience,
) -> Result<Vec<Option<TcpStream>>, CommError> {
    let deadline = Instant::now() + patience.to_meet;
    let mut streams: Vec<Option<TcpStream>> = (0..launch.world).map(|_| None).collect();
    match launch.rank {
        _ if launch.world == 1 => {}
        0 => gather_all(launch, greeting, deadline, patience, &mut streams)?,
        _ => join(launch, greeting, deadline, patience, &mut streams)?,
    }
    for stream in streams.iter().flatten() {
        stream.set_read_timeout(None).map_err(CommError::Setup)?;
        stream.set_nodelay(true).map_err(CommError::Setup)?;
    }
    Ok(streams)
}

/// Rank 0: waits for all others, checks that they belong together, and sends each the list of addresses.
fn gather_all(
    launch: &Launch,
    greeting: &str,
    deadline: Instant,
    patience: Patience,
    streams: &mut [Option<TcpStream>],
) -> Result<(), CommError> {
    let (host, port) = launch.meeting_place()?;
    let listener = TcpListener::bind((host, port)).map_err(|error| {
        let address = format!("{host}:{port}");
        CommError::Listen { address, error }
    })?;
    let mut addresses = vec![String::from("-"); launch.world];
    while streams.iter().skip(1).any(Option::is_none) {
        let Some((mut stream, hello)) = accept(&listener, deadline)? else {
            return Err(missing(patience, streams, 1));
        };
        if let Some(problem) = misfit(launch, greeting, &hello, streams) {
            let error = CommError::Misfit { rank: hello.rank, problem };
            let told = error.to_string();
            for stream in streams.iter_mut().flatten().chain([&mut stream]) {
                let _ = frame::write(stream, Kind::Fail, told.as_bytes()); // they end anyway
            }
            return Err(error);
        }
        let ip = stream.peer_addr().map_err(CommError::Setup)?.ip();
        addresses[hello.rank] = SocketAddr::new(ip, hello.port).to_string();
        streams[hello.rank] = Some(stream);
    }
    let list = addresses.join("\n");
    for stream in streams.iter_mut().flatten() {
        frame::write(stream, Kind::Data, list.as_bytes()).map_err(CommError::Setup)?;
    }
    Ok(())
}

/// Any other rank: connects to rank 0, and with its list to the rest.
fn join(
    launch: &Launch,
    greeting: &str,
    deadline: Instant,
    patience: Patience,
    streams: &mut [Option<TcpStream>],
) -> Result<(), CommError> {
    let (host, port) = launch.meeting_place()?;
    let mut first = connect((host, port), deadline).map_err(|error| {
        let missing = format!("rank 0 was not at {host}:{port} ({error})");
        CommError::Missing { secs: patience.to_meet.as_secs(), missing }
    })?;
    let own_ip: IpAddr = first.local_addr().map_err(CommError::Setup)?.ip();
    let listener = TcpListener::bind((own_ip, 0)).map_err(CommError::Setup)?;
    let port = listener.local_addr().map_err(CommError::Setup)?.port();
    let hello = format!("{MAGIC} {} {} {port}\n{greeting}", launch.rank, launch.world);
    frame::write(&mut first, Kind::Data, hello.as_bytes()).map_err(CommError::Setup)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(BETWEEN_TRIES);
    first.set_read_timeout(Some(left)).map_err(CommError::Setup)?;
    let list = match frame::read(&mut first, || ()) {
        Ok((Kind::Data, list)) => String::from_utf8_lossy(&list).into_owned(),
        Ok((_, reason)) => {
            let reason = String::from_utf8_lossy(&reason).into_owned();
            return Err(CommError::Failed { rank: 0, reason });
        }
        Err(error) => {
            let missing = format!("rank 0 had not found all processes ({error})");
            return Err(CommError::Missing { secs: patience.to_meet.as_secs(), missing });
        }
    };
    streams[0] = Some(first);
    let addresses: Vec<&str> = list.lines().collect();
    for rank in 1..launch.rank {
        let address = addresses.get(rank).copied().unwrap_or_default();
        let mut stream = connect(address, deadline).map_err(|error| {
            let missing = format!("rank {rank} was not at {address} ({error})");
            CommError::Missing { secs: patience.to_meet.as_secs(), missing }
        })?;
        frame::write(&mut stream, Kind::Data, hello.as_bytes()).map_err(CommError::Setup)?;
        streams[rank] = Some(stream);
    }
    while streams.iter().skip(launch.rank + 1).any(Option::is_none) {
        let Some((stream, hello)) = accept(&listener, deadline)? else {
            return Err(missing(patience, streams, launch.rank + 1));
        };
        if misfit(launch, greeting, &hello, streams).is_none() {
            streams[hello.rank] = Some(stream);
        }
    }
    Ok(())
}

/// Connects, again and again until `deadline`: the other side may not listen yet.
fn connect(address: impl std::net::ToSocketAddrs, deadline: Instant) -> io::Result<TcpStream> {
    loop {
        let error = match address.to_socket_addrs() {
            Ok(addresses) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in addresses {
                    let left = deadline.saturating_duration_since(Instant::now()).max(BETWEEN_TRIES);
                    match TcpStream::connect_timeout(&address, left.min(HELLO_TIME)) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => last = error,
                    }
                }
                last
            }
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// Returns the next connection that says who it is; `None` after `deadline`.
fn accept(listener: &TcpListener, deadline: Instant) -> Result<Option<(TcpStream, Hello)>, CommError> {
    listener.set_nonblocking(true).map_err(CommError::Setup)?;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Some(met) = hello(stream) {
                    return Ok(Some(met));
                }
            }
            // the wait is short, and an error of one connection is not one of the listener
            Err(_) => std::thread::sleep(BETWEEN_TRIES),
        }
    }
    Ok(None)
}

/// Reads who is at the other end; `None` if it is nobody of ours.
fn hello(mut stream: TcpStream) -> Option<(TcpStream, Hello)> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(HELLO_TIME)).ok()?;
    let (kind, content) = frame::read(&mut Read::by_ref(&mut stream).take(MAX_HELLO_BYTES), || ()).ok()?;
    let text = String::from_utf8(content).ok().filter(|_| kind == Kind::Data)?;
    let (head, greeting) = text.split_once('\n')?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return None;
    }
    let mut number = || words.next()?.parse::<usize>().ok();
    let (rank, world, port) = (number()?, number()?, u16::try_from(number()?).ok()?);
    Some((stream, Hello { rank, world, port, greeting: greeting.to_owned() }))
}

/// Returns why a rank that introduced itself does not belong here.
fn misfit(launch: &Launch, greeting: &str, hello: &Hello, streams: &[Option<TcpStream>]) -> Option<String> {
    if hello.world != launch.world {
        return Some(format!("it was launched as one of {}, this one of {}", hello.world, launch.world));
    }
    if hello.rank <= launch.rank || streams.get(hello.rank).is_none_or(Option::is_some) {
        return Some("there is another process with this rank".to_owned());
    }
    (hello.greeting != greeting).then(|| format!("it is {:?}, this is {greeting:?}", hello.greeting))
}

/// Returns the error that says which ranks from `first` on have not come.
fn missing(patience: Patience, streams: &[Option<TcpStream>], first: usize) -> CommError {
    let absent = |(_, stream): &(usize, &Option<TcpStream>)| stream.is_none();
    let ranks: Vec<String> =
        streams.iter().enumerate().skip(first).filter(absent).map(|(rank, _)| rank.to_string()).collect();
    let missing = format!("of {} processes, these ranks had not come: {}", streams.len(), ranks.join(", "));
    CommError::Missing { secs: patience.to_meet.as_secs(), missing }
}
