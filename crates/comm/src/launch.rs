//! Finds out from the environment who takes part: `torchrun`'s variables, or those of `mpirun` and `mpiexec`.

use crate::error::CommError;

/// Largest number of processes.
const MAX_WORLD: usize = 1024;

/// The port of rank 0 unless `MASTER_PORT` says another one, as in PyTorch.
const DEFAULT_PORT: u16 = 29_500;

/// Where a launcher puts a process's rank, the number of processes, and the number of those on the same machine.
struct Variables {
    rank: &'static str,
    world: &'static str,
    on_this_machine: &'static str,
    by_mpi: bool,
}

/// The launchers: `torchrun`'s names, Open MPI, and the MPICH family.
const LAUNCHERS: [Variables; 3] = [
    Variables { rank: "RANK", world: "WORLD_SIZE", on_this_machine: "LOCAL_WORLD_SIZE", by_mpi: false },
    Variables {
        rank: "OMPI_COMM_WORLD_RANK",
        world: "OMPI_COMM_WORLD_SIZE",
        on_this_machine: "OMPI_COMM_WORLD_LOCAL_SIZE",
        by_mpi: true,
    },
    Variables { rank: "PMI_RANK", world: "PMI_SIZE", on_this_machine: "MPI_LOCALNRANKS", by_mpi: true },
];

/// One process among those that a launcher started, and where they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The number of this process, from 0.
    pub rank: usize,
    /// The number of processes.
    pub world: usize,
    /// The name or address of rank 0's machine; `None` if nothing tells, and the processes may be on several machines.
    pub host: Option<String>,
    /// The port at which rank 0 waits for the others.
    pub port: u16,
    /// Number of the processes that are on this machine, if the launcher says so.
    pub n_here: Option<usize>,
    /// Whether `mpirun` or `mpiexec` started the process.
    pub by_mpi: bool,
}

impl Launch {
    /// Returns the launch that the variables describe, which `variable` looks up; `None` if no launcher set any.
    ///
    /// `RANK` and `WORLD_SIZE` come first, then those of Open MPI and MPICH. The ranks meet at `MASTER_ADDR`, which may be
    /// missing if all are on one machine, and `MASTER_PORT` (29500).
    ///
    /// # Errors
    /// If a variable is missing or has no sensible value.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, CommError> {
        let is_set = |name: &str| variable(name).is_some();
        let Some(names) = LAUNCHERS.iter().find(|names| is_set(names.rank) && is_set(names.world)) else {
            return Ok(None);
        };
        let refuse = |name: &str, problem: String| {
            let value = variable(name).unwrap_or_default();
            Err(CommError::Variable { name: name.to_owned(), value, problem })
        };
        let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<usize>().ok());
        let Some(world) = number(names.world).filter(|n| (1..=MAX_WORLD).contains(n)) else {
            return refuse(names.world, format!("expected the number of processes, 1 to {MAX_WORLD}"));
        };
        let Some(rank) = number(names.rank).filter(|&rank| rank < world) else {
            return refuse(names.rank, format!("expected the number of this process, 0 to {}", world - 1));
        };
        let port = match variable("MASTER_PORT") {
            None => DEFAULT_PORT,
            Some(text) => match text.trim().parse() {
                Ok(port) if port > 0 => port,
                _ => return refuse("MASTER_PORT", "expected a port, 1 to 65535".into()),
            },
        };
        let n_here = number(names.on_this_machine).filter(|n| (1..=world).contains(n));
        let all_are_here = world == 1 || n_here == Some(world);
        let host = variable("MASTER_ADDR").map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        let host = host.or_else(|| all_are_here.then(|| "127.0.0.1".to_owned()));
        Ok(Some(Self { rank, world, host, port, n_here, by_mpi: names.by_mpi }))
    }

    /// Returns where the ranks meet.
    pub(crate) fn meeting_place(&self) -> Result<(&str, u16), CommError> {
        match &self.host {
            Some(host) => Ok((host, self.port)),
            None => Err(CommError::Variable {
                name: "MASTER_ADDR".into(),
                value: String::new(),
                problem: "expected the name or address of rank 0's machine".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Result<Option<Launch>, String> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Launch::from_variables(variable).map_err(|error| error.to_string())
    }

    fn of(
        rank: usize,
        world: usize,
        host: &str,
        port: u16,
        n_here: Option<usize>,
    ) -> Result<Option<Launch>, String> {
        let host = (!host.is_empty()).then(|| host.to_owned());
        Ok(Some(Launch { rank, world, host, port, n_here, by_mpi: false }))
    }

    fn by_mpi(rank: usize, world: usize, n_here: Option<usize>) -> Result<Option<Launch>, String> {
        let host = Some("127.0.0.1".to_owned());
        Ok(Some(Launch { rank, world, host, port: 29_500, n_here, by_mpi: true }))
    }

    #[test]
    fn no_launcher_means_a_process_alone() {
        assert_eq!(launch(&[]), Ok(None));
        assert_eq!(launch(&[("MASTER_ADDR", "a"), ("RANK", "1")]), Ok(None));
    }

    #[test]
    fn each_launcher_is_understood() {
        let torch = [("RANK", "3"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "node-0"), ("MASTER_PORT", "1234")];
        assert_eq!(launch(&torch), of(3, 4, "node-0", 1234, None));
        assert_eq!(launch(&torch[..3]), of(3, 4, "node-0", 29_500, None));
        let ompi = [
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        assert_eq!(launch(&ompi), by_mpi(1, 2, Some(2)));
        let mpich = [("PMI_RANK", "0"), ("PMI_SIZE", "2"), ("MPI_LOCALNRANKS", "2")];
        assert_eq!(launch(&mpich), by_mpi(0, 2, Some(2)));
        assert_eq!(launch(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]), by_mpi(0, 1, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let refused = |variables: &[(&str, &str)]| launch(variables).unwrap_err();
        let text = refused(&[("RANK", "4"), ("WORLD_SIZE", "4")]);
        assert_eq!(
            text,
            r#"the environment variable RANK is "4": expected the number of this process, 0 to 3"#
        );
        assert!(refused(&[("RANK", "0"), ("WORLD_SIZE", "many")]).contains(r#"WORLD_SIZE is "many""#));
        assert!(refused(&[("RANK", "0"), ("WORLD_SIZE", "0")]).contains("1 to 1024"));
        let nowhere = launch(&[("RANK", "0"), ("WORLD_SIZE", "2")]).unwrap().unwrap();
        let text = nowhere.meeting_place().unwrap_err().to_string();
        assert!(text.contains(r#"MASTER_ADDR is "": expected the name or address"#), "{text}");
        let port = [("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_PORT", "70000")];
        assert!(refused(&port).contains("1 to 65535"));
    }
}
