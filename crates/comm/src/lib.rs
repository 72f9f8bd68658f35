//! Several processes that train one network together.
//!
//! Each process is a *rank*, from 0 to `world - 1`. All ranks call the same operations in the same order. An operation returns
//! the same bits on every rank, and [`Comm::sum`] also for every number of ranks, since it adds in the order of a binary tree
//! over the ranks:
//!
//! ```text
//! ranks   0     1     2     3
//!          \   /       \   /
//!          (0+1)       (2+3)
//!               \     /
//!           ((0+1)+(2+3))
//! ```
//!
//! `launch` finds out who takes part, `rendezvous` connects everybody with everybody, `mesh` sends and receives and notices
//! a rank that died or hangs. This crate does not know what the numbers mean: `tallow-training` cuts the work.
//!
//! Connections are plain TCP without encryption or passwords, for networks where everybody is trusted.
#![forbid(unsafe_code)]

mod error;
mod frame;
mod launch;
mod mesh;
#[cfg(feature = "mpi")]
mod over_mpi;
mod rendezvous;
mod sum;

use std::time::Duration;

pub use error::CommError;
pub use launch::Launch;
use mesh::Mesh;

/// How long the ranks wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For all ranks to connect at the beginning.
    pub to_meet: Duration,
    /// For any sign of life of a connected rank. Every rank gives one each second, also while it computes.
    pub for_life: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { to_meet: Duration::from_secs(60), for_life: Duration::from_secs(8) }
    }
}

/// What this process spent on communication so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Bytes that this rank sent to other ranks.
    pub sent_bytes: u64,
    /// Time that operations took, in seconds.
    pub waited_secs: f64,
    /// The part of it in which nothing else was done, as far as the caller [counts](Comm::count_stall) it.
    pub stalled_secs: f64,
}

/// The processes that work together, as one of them sees it.
#[derive(Debug, Default)]
pub struct Comm {
    /// The connections to the other ranks. `None`: a process that was not launched as one of several.
    mesh: Option<Mesh>,
    /// MPI, if it started the processes and this program can use it.
    #[cfg(feature = "mpi")]
    wire: Option<over_mpi::Wire>,
    /// Whether sums may have any order.
    #[cfg(feature = "mpi")]
    is_fast: bool,
}

impl Comm {
    /// A process that works alone. All operations return at once.
    pub fn alone() -> Self {
        Self::default()
    }

    /// Connects with all ranks of `launch`. `greeting` describes the program; all ranks must give the same.
    ///
    /// # Errors
    /// If the ranks do not all meet in time, or one of them is another program.
    pub fn connect(launch: &Launch, greeting: &str, patience: Patience) -> Result<Self, CommError> {
        #[cfg(feature = "mpi")]
        let (wire, launch) = match launch.by_mpi {
            true => {
                let wire = over_mpi::Wire::start(launch.rank, launch.world)?;
                let host = launch.host.clone().map_or_else(|| wire.first_machine(), Ok)?;
                (Some(wire), Launch { host: Some(host), ..launch.clone() })
            }
            false => (None, launch.clone()),
        };
        #[cfg(feature = "mpi")]
        let launch = &launch;
        let streams = rendezvous::meet(launch, greeting, patience)?;
        let mesh = Some(Mesh::start(launch.rank, streams, patience.for_life)?);
        Ok(Self {
            mesh,
            #[cfg(feature = "mpi")]
            wire,
            #[cfg(feature = "mpi")]
            is_fast: false,
        })
    }

    /// Lets MPI choose the order of sums, which is faster on some networks. Then results depend on the number of ranks, and may
    /// differ from run to run.
    ///
    /// # Errors
    /// If sums do not go over MPI.
    pub fn allow_any_order(&mut self) -> Result<(), CommError> {
        #[cfg(feature = "mpi")]
        if self.wire.is_some() {
            self.is_fast = true;
            return Ok(());
        }
        let problem =
            "only sums over MPI can be made faster: build with the feature `mpi`, and start with mpirun";
        Err(CommError::Mpi(problem.into()))
    }

    /// Returns the number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.mesh.as_ref().map_or(0, Mesh::rank)
    }

    /// Returns the number of processes.
    pub fn world(&self) -> usize {
        self.mesh.as_ref().map_or(1, Mesh::world)
    }

    /// Whether this is rank 0, which writes files and talks to the user.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether the process was launched as one of several, though their number may be 1.
    pub fn is_launched(&self) -> bool {
        self.mesh.is_some()
    }

    /// Replaces `data` by the sum over all ranks, number by number, added in the order of a binary tree over the ranks. All
    /// ranks give the same number of numbers.
    ///
    /// Each rank sends `2 (1 - 1 / world)` times the data (Thakur et al. 2005, "Optimization of Collective Communication
    /// Operations in MPICH": recursive halving, then doubling).
    ///
    /// # Errors
    /// If the number of ranks is not a power of two, or a rank is lost.
    pub fn sum(&self, data: &mut [f32]) -> Result<(), CommError> {
        let Some(mesh) = &self.mesh else { return Ok(()) };
        #[cfg(feature = "mpi")]
        match &self.wire {
            Some(wire) if self.is_fast => {
                wire.fast_sum(mesh, data);
                return Ok(());
            }
            Some(wire) => return wire.sum(mesh, data),
            None => {}
        }
        sum::sum(mesh.rank(), mesh.world(), data, |partner, ours, theirs| {
            sum::over_mesh(mesh, partner, ours, theirs)
        })
    }

    /// Returns what all ranks give, in the order of the ranks.
    ///
    /// # Errors
    /// If a rank is lost.
    pub fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommError> {
        let Some(mesh) = &self.mesh else { return Ok(vec![bytes.to_vec()]) };
        let others = || (0..mesh.world()).filter(|&rank| rank != mesh.rank());
        for rank in others() {
            mesh.send(rank, bytes)?;
        }
        (0..mesh.world())
            .map(|rank| if rank == mesh.rank() { Ok(bytes.to_vec()) } else { mesh.receive(rank) })
            .collect()
    }

    /// Returns what rank 0 gives. The others give nothing.
    ///
    /// # Errors
    /// If a rank is lost.
    pub fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, CommError> {
        let Some(mesh) = &self.mesh else { return Ok(bytes) };
        if mesh.rank() > 0 {
            return mesh.receive(0);
        }
        for rank in 1..mesh.world() {
            mesh.send(rank, &bytes)?;
        }
        Ok(bytes)
    }

    /// Tells the other ranks why this one fails. They end with this reason. Nobody is told twice.
    pub fn fail(&self, reason: &str) {
        if let Some(mesh) = &self.mesh {
            mesh.fail(reason);
        }
    }

    /// Counts time in which this process did nothing but wait for an operation.
    pub fn count_stall(&self, time: Duration) {
        if let Some(mesh) = &self.mesh {
            mesh.count_stall(time);
        }
    }

    /// Returns what this process spent on communication so far.
    pub fn traffic(&self) -> Traffic {
        self.mesh.as_ref().map_or_else(Traffic::default, Mesh::traffic)
    }
}
