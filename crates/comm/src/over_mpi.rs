//! Sums over MPI: its networks are often faster than TCP. Everything else, and the signs of life, stay with the mesh.
//!
//! Messages are sent buffered and received once they have been announced, so that a call waits inside MPI only for the rest of a
//! message that has begun to come. MPI itself ends all processes if it notices a lost one first.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::point_to_point::{Message, Status};
use mpi::topology::{Process, SimpleCommunicator};
use mpi::traits::{
    Communicator as _, CommunicatorCollectives as _, Destination as _, Equivalence as _, Root as _,
    Source as _,
};
use mpi::{Tag, Threading};

use crate::error::CommError;
use crate::mesh::Mesh;

/// Largest number of numbers that are summed at once: MPI counts in 32 bits.
const MAX_NUMBERS: usize = 1 << 26;

/// More than any MPI adds to a message in its buffer (`MPI_BSEND_OVERHEAD`, which the bindings do not have), in bytes.
const MAX_OVERHEAD_BYTES: usize = 1024;

/// The kinds of messages: numbers, and the word that they have arrived.
const DATA: Tag = 0;
const DONE: Tag = 1;

/// Time between two looks for a message, once it has not come at once.
const BETWEEN_LOOKS: Duration = Duration::from_micros(50);

/// How often a message is looked for without a pause.
const N_QUICK_LOOKS: usize = 2_000;

/// Size limit of the name of a machine, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// MPI, from its initialisation to its end. The lock keeps other threads from calling it at the same time.
pub(crate) struct Wire(Mutex<Buffered>);

struct Buffered {
    universe: Universe,
    /// Size of the attached buffer, in bytes.
    buffer_bytes: usize,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Initialises MPI, for a process that it started as `rank` of `world`.
    pub(crate) fn start(rank: usize, world: usize) -> Result<Self, CommError> {
        let refuse = |problem: String| Err(CommError::Mpi(problem));
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
            return refuse("it is in use already".into());
        };
        if threading < Threading::Serialized {
            return refuse("this library does not allow calls from several threads".into());
        }
        let all = universe.world();
        if (all.rank() as usize, all.size() as usize) != (rank, world) {
            return refuse(format!(
                "the program was built for another MPI than the one that started it: the library says rank {} of {}, the \
                 launcher {rank} of {world}",
                all.rank(),
                all.size()
            ));
        }
        Ok(Self(Mutex::new(Buffered { universe, buffer_bytes: 0 })))
    }

    /// Returns the name of rank 0's machine.
    pub(crate) fn first_machine(&self) -> Result<String, CommError> {
        let _locked = self.locked();
        let mut name = [0u8; MAX_NAME_BYTES];
        let all = SimpleCommunicator::world();
        if all.rank() == 0 {
            let own =
                mpi::environment::processor_name().map_err(|error| CommError::Mpi(error.to_string()))?;
            name.iter_mut().zip(own.bytes()).for_each(|(to, from)| *to = from);
        }
        all.process_at_rank(0).broadcast_into(&mut name[..]);
        Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
    }

    /// Sums `data` over all ranks in the order of the tree.
    pub(crate) fn sum(&self, mesh: &Mesh, data: &mut [f32]) -> Result<(), CommError> {
        let mut locked = self.locked();
        for data in data.chunks_mut(MAX_NUMBERS) {
            // of each step at most one message is on its way, and the steps' messages have twice the data at most
            let n_messages = 4 * mesh.world().ilog2() as usize;
            locked.make_room(2 * size_of_val(data) + n_messages * MAX_OVERHEAD_BYTES);
            crate::sum::sum(mesh.rank(), mesh.world(), data, |partner, ours, theirs| {
                let (all, started) = (SimpleCommunicator::world(), Instant::now());
                let process = all.process_at_rank(partner as i32);
                process.buffered_send_with_tag(ours, DATA);
                let (message, status) = announced(process, DATA, mesh, partner)?;
                let got = status.count(f32::equivalent_datatype()) as usize;
                if got != theirs.len() {
                    let (got, expected) = (size_of::<f32>() * got, size_of_val(theirs));
                    return Err(CommError::OutOfStep { rank: partner, got, expected });
                }
                message.matched_receive_into(theirs);
                // MPI may send only while it is called: nobody leaves before the partner has everything
                process.buffered_send_with_tag(&[0f32; 0][..], DONE);
                announced(process, DONE, mesh, partner)?.0.matched_receive_into(&mut [0f32; 0][..]);
                mesh.count(size_of_val(ours), started.elapsed());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Sums `data` over all ranks in whatever order MPI finds fastest.
    pub(crate) fn fast_sum(&self, mesh: &Mesh, data: &mut [f32]) {
        let _locked = self.locked();
        let started = Instant::now();
        for data in data.chunks_mut(MAX_NUMBERS) {
            let ours = data.to_vec();
            SimpleCommunicator::world().all_reduce_into(&ours[..], data, SystemOperation::sum());
        }
        mesh.count(size_of_val(data), started.elapsed());
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Buffered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a message with `tag` is announced by `process`, which has the rank `rank`.
fn announced(
    process: Process<'_>,
    tag: Tag,
    mesh: &Mesh,
    rank: usize,
) -> Result<(Message, Status), CommError> {
    for n_looks in 0.. {
        if let Some(announced) = process.immediate_matched_probe_with_tag(tag) {
            return Ok(announced);
        }
        match n_looks < N_QUICK_LOOKS {
            true => thread::yield_now(),
            false => {
                mesh.check(rank)?;
                thread::sleep(BETWEEN_LOOKS);
            }
        }
    }
    Err(CommError::Mpi("no message came".into())) // unreachable in practice: the counter would have to run out
}

impl Buffered {
    /// Makes room for messages of so many bytes.
    fn make_room(&mut self, n_bytes: usize) {
        if self.buffer_bytes < n_bytes {
            self.universe.set_buffer_size(n_bytes);
            self.buffer_bytes = n_bytes;
        }
    }
}
