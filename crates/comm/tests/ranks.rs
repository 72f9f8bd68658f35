//! Ranks as threads of one process, over real connections.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tallow_comm::{Comm, CommError, Launch, Patience};

const PATIENCE: Patience = Patience { to_meet: Duration::from_secs(30), for_life: Duration::from_secs(8) };

/// A loopback address that no other test and no other process of this machine uses.
fn own_host() -> String {
    static N_HOSTS: AtomicU32 = AtomicU32::new(1);
    let (id, n) = (std::process::id(), N_HOSTS.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{}", 1 + (id >> 8) % 250, id % 256, n % 250 + 1)
}

fn launch(rank: usize, world: usize, host: &str) -> Launch {
    Launch { rank, world, host: Some(host.to_owned()), port: 29_500, n_here: None, by_mpi: false }
}

/// Calls `work` on each of `world` ranks at the same time, and returns the results in the order of the ranks.
fn on_ranks<T: Send>(world: usize, work: impl Fn(Comm) -> T + Sync) -> Vec<T> {
    let host = own_host();
    thread::scope(|scope| {
        let (host, work) = (&host, &work);
        let start = |rank| {
            scope.spawn(move || work(Comm::connect(&launch(rank, world, host), "t", PATIENCE).unwrap()))
        };
        let threads: Vec<_> = (0..world).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Numbers whose sum depends on the order.
fn numbers(rank: usize, n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((rank * 7919 + i * 104_729) % 1000) as f32 * 1.1e-3 * 10f32.powi((rank % 5) as i32))
        .collect()
}

fn tree(parts: &[Vec<f32>]) -> Vec<f32> {
    match parts {
        [one] => one.clone(),
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            tree(left).iter().zip(tree(right)).map(|(a, b)| a + b).collect()
        }
    }
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_sum_has_the_bits_of_the_tree_on_every_rank() {
    for (world, n) in [(1, 10), (2, 1), (4, 1001), (4, 0), (4, 3), (8, 100_003)] {
        let parts: Vec<_> = (0..world).map(|rank| numbers(rank, n)).collect();
        let expected = bits(&tree(&parts));
        let sums = on_ranks(world, |comm| {
            let mut data = parts[comm.rank()].clone();
            comm.sum(&mut data).unwrap();
            bits(&data)
        });
        for (rank, sum) in sums.iter().enumerate() {
            assert!(*sum == expected, "{world} ranks, {n} numbers, rank {rank}");
        }
    }
    // the order matters for these numbers
    let parts: Vec<_> = (0..8).map(|rank| numbers(rank, 1001)).collect();
    let in_line =
        parts[1..].iter().fold(parts[0].clone(), |a, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
    assert_ne!(bits(&in_line), bits(&tree(&parts)));
}

#[test]
fn a_sum_sends_less_than_twice_the_data() {
    let n = 40_000;
    let sent = on_ranks(4, |comm| {
        comm.sum(&mut numbers(comm.rank(), n)).unwrap();
        comm.traffic().sent_bytes
    });
    assert_eq!(sent, [4 * 60_000; 4]); // 2 (1 - 1/4) numbers
}

#[test]
fn gathering_and_broadcasting_keep_the_order() {
    let got = on_ranks(3, |comm| {
        let all = comm.gather(&vec![comm.rank() as u8; comm.rank() * 3]).unwrap();
        let first = comm.broadcast(if comm.is_first() { b"hello".to_vec() } else { Vec::new() }).unwrap();
        (all, first)
    });
    for (all, first) in got {
        assert_eq!(all, [vec![], vec![1; 3], vec![2; 6]]);
        assert_eq!(first, b"hello");
    }
}

#[test]
fn a_number_of_ranks_that_makes_no_tree_is_refused() {
    let errors = on_ranks(3, |comm| comm.sum(&mut [1.0]).unwrap_err().to_string());
    assert_eq!(errors, ["the number of processes must be a power of two, it is 3"; 3]);
}

#[test]
fn a_process_alone_needs_nobody() {
    let comm = Comm::alone();
    let mut data = [1.0, 2.0];
    comm.sum(&mut data).unwrap();
    assert_eq!((data, comm.gather(b"a").unwrap()), ([1.0, 2.0], vec![b"a".to_vec()]));
    assert!(comm.is_first() && !comm.is_launched() && comm.world() == 1);
}

#[test]
fn who_fails_tells_all_others_why() {
    let errors = on_ranks(4, |comm| match comm.rank() {
        2 => {
            comm.fail("the disk is full");
            String::new()
        }
        _ => comm.sum(&mut [1.0; 100]).unwrap_err().to_string(),
    });
    for rank in [0, 1, 3] {
        assert_eq!(errors[rank], "rank 2 failed: the disk is full");
    }
}

#[test]
fn who_ends_early_is_missed() {
    let errors = on_ranks(2, |comm| match comm.rank() {
        1 => String::new(),
        _ => comm.gather(b"a").unwrap_err().to_string(),
    });
    assert_eq!(errors[0], "rank 1 is gone: it ended before the others");
}

/// A rank that computes for longer than the patience gives signs of life; one whose connection stays open but that says nothing
/// does not. The latter is played by a stranger who introduces itself as rank 1.
#[test]
fn a_silent_rank_is_lost_and_a_busy_one_is_not() {
    let impatient = Patience { for_life: Duration::from_secs(3), ..PATIENCE };
    let host = own_host();
    let first = launch(0, 2, &host);
    let busy = thread::scope(|scope| {
        let one = scope.spawn(|| {
            let comm = Comm::connect(&launch(1, 2, &host), "t", impatient).unwrap();
            thread::sleep(Duration::from_secs(4));
            comm.sum(&mut [1.0]).map_err(|error| error.to_string())
        });
        let comm = Comm::connect(&first, "t", impatient).unwrap();
        let sum = comm.sum(&mut [2.0]).map_err(|error| error.to_string());
        (sum, one.join().unwrap())
    });
    assert_eq!(busy, (Ok(()), Ok(())));

    let host = own_host();
    let first = launch(0, 2, &host);
    let (error, secs) = thread::scope(|scope| {
        let comm = scope.spawn(|| Comm::connect(&first, "t", impatient).unwrap());
        let stranger = introduced(&host, "tallow-comm-1 1 2 9\nt");
        let comm = comm.join().unwrap();
        let started = Instant::now();
        let error = comm.sum(&mut [1.0]).unwrap_err().to_string();
        drop(stranger);
        (error, started.elapsed().as_secs())
    });
    assert_eq!(error, "rank 1 is gone: no sign of life for 3 s");
    assert!(secs >= 2, "{secs}");
}

/// Connects to rank 0 at `host` and says `hello`.
fn introduced(host: &str, hello: &str) -> TcpStream {
    use std::io::Write as _;
    let mut stream = loop {
        match TcpStream::connect((host, 29_500)) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    stream.write_all(&[0]).unwrap();
    stream.write_all(&(hello.len() as u64).to_le_bytes()).unwrap();
    stream.write_all(hello.as_bytes()).unwrap();
    stream
}

#[test]
fn strangers_are_ignored_and_other_programs_refused() {
    let host = own_host();
    let errors = thread::scope(|scope| {
        let first = scope.spawn(|| Comm::connect(&launch(0, 2, &host), "tallow 1", PATIENCE).unwrap_err());
        let stranger = introduced(&host, "GET / HTTP/1.1\n\n");
        let other = Comm::connect(&launch(1, 2, &host), "tallow 2", PATIENCE).unwrap_err();
        drop(stranger);
        [first.join().unwrap().to_string(), other.to_string()]
    });
    let problem = r#"rank 1 cannot join: it is "tallow 2", this is "tallow 1""#;
    assert_eq!(errors, [problem.to_owned(), format!("rank 0 failed: {problem}")]);
}

#[test]
fn who_never_comes_is_named() {
    let patience = Patience { to_meet: Duration::from_secs(1), ..PATIENCE };
    let host = own_host();
    let error = Comm::connect(&launch(0, 3, &host), "t", patience).unwrap_err().to_string();
    assert_eq!(
        error,
        "after 1 s, of 3 processes, these ranks had not come: 1, 2; look at what the other processes say"
    );
    let error = Comm::connect(&launch(1, 3, &host), "t", patience).unwrap_err().to_string();
    assert!(error.starts_with(&format!("after 1 s, rank 0 was not at {host}:29500 (")), "{error}");
}

#[test]
fn a_port_in_use_is_said() {
    let host = own_host();
    let _taken = TcpListener::bind((host.as_str(), 29_500)).unwrap();
    let error = Comm::connect(&launch(0, 2, &host), "t", PATIENCE).unwrap_err();
    assert!(matches!(&error, CommError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("MASTER_PORT a free port"), "{error}");
}
