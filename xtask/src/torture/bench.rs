//! The bench: a folder with a small undisturbed run of every kind of training, and a place for the runs that are disturbed.
//!
//! All runs of a kind have the same place, one after another, because a run's recipe records paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tallow_core::{Purpose, Stream, files};

use super::compare::differences;
use super::process::{self, Ended};
use super::strace;

/// A kind of training: what `trainer` is started with, in a folder beside `photos` and `weights.safetensors`.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    words: &'static [&'static str],
}

/// A network of a few thousand parameters.
const TINY: &str = "--offline --batch-size 8 --set model.widths=[4,4,8,8] --set model.dropout=[0.1,0.1] \
     --set model.dense=8";

/// A backbone whose weights are in the file, on small pictures.
const BACKBONE: &str = "--offline --batch-size 8 --dataset ../photos --weights ../weights.safetensors \
     --set model.name=mobilenetv4_conv_small --set model.input_px=[32,32]";

/// Every kind of training, each with the state that a run of its kind must restore.
pub static KINDS: [Kind; 5] = [
    Kind {
        name: "cnn",
        words: &[
            TINY,
            "--recipe keras --dataset sample --train-subset 60 --epochs 4 --set augment.cutout_px=4",
            "--set callbacks.reduce_lr_on_plateau.patience=1",
        ],
    },
    Kind {
        name: "photos",
        words: &[
            TINY,
            "--recipe photos-cnn --dataset ../photos --epochs 4 --set model.input_px=[24,32]",
            "--set averaging={kind=\"ema\",decay=0.9} --set mix.mixup_alpha=0.4",
        ],
    },
    Kind {
        name: "folds",
        words: &[
            TINY,
            "--recipe photos-cnn --dataset ../photos --epochs 2 --folds 2 --set model.input_px=[24,32]",
        ],
    },
    Kind { name: "head", words: &[BACKBONE, "--recipe photos --epochs 4 --set augment.flip=random"] },
    Kind {
        name: "finetune",
        words: &[BACKBONE, "--recipe lite0-finetune --epochs 2 --set model.unfreeze=last"],
    },
];

/// The recipe that makes the weights of the backbone: one epoch from random ones. The 28 training pictures are two whole
/// batches: with statistics of few pictures the network would grow without bound.
const WEIGHTS_RECIPE: &str = r#"
epochs = 1
batch_size = 14
seed = 0
device = "cpu"
precision = "f32"
[data]
dataset = "photos"
val_fraction = 0.1
[model]
name = "mobilenetv4_conv_small"
input_px = [32, 32]
[optimizer]
kind = "sgd"
lr = 0.01
[schedule]
kind = "constant"
"#;

/// Class folders of the photographs and their numbers of pictures.
const CLASSES: [(&str, u64); 3] = [("cat", 14), ("dog", 13), ("owl", 12)];

/// The variables that `trainer` reads.
const VARIABLES: [&str; 5] = ["TALLOW_ISA", "TALLOW_CONV", "RUST_LOG", "RAYON_NUM_THREADS", "RUST_BACKTRACE"];

/// The folder of the bench for a run that differs.
pub const DIFFERENCE: &str = "difference";

/// A folder for runs.
pub struct Bench {
    trainer: PathBuf,
    /// The folder that the runs are in, one after another.
    pub work: PathBuf,
    /// A folder for the output of processes, and what else must not be among the files of a run.
    pub logs: PathBuf,
    /// strace, if it can be used here.
    pub strace: Option<PathBuf>,
    root: PathBuf,
}

/// An undisturbed run.
pub struct Reference {
    /// The kind of training.
    pub kind: &'static Kind,
    /// The folder with the run's folder `run`, and with the data folder `data`.
    pub folder: PathBuf,
    /// How long the process took.
    pub took: Duration,
    /// How often its first thread made each system call; empty without strace.
    pub calls: BTreeMap<String, u32>,
}

impl Bench {
    /// Makes a bench in the empty folder `root`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(trainer: &Path, root: &Path) -> Result<Self> {
        let root = root.canonicalize()?;
        let trainer = trainer.canonicalize().with_context(|| format!("there is no {}", trainer.display()))?;
        let [work, logs] = ["work", "logs"].map(|name| root.join(name));
        files::create_folder(&logs)?;
        for (class, (name, n)) in CLASSES.iter().enumerate() {
            let folder = root.join("photos").join(name);
            files::create_folder(&folder)?;
            for i in 0..*n {
                fs::write(folder.join(format!("{i:02}.png")), picture(class, i)?)?;
            }
        }
        let strace = strace::find(&logs);
        Ok(Self { trainer, work, logs, strace, root })
    }

    /// Whether there is a run folder.
    pub fn has_run(&self) -> bool {
        self.work.join("run").exists()
    }

    /// Returns the command that starts the run in `work`, or resumes it if it is there.
    pub fn command(&self, kind: &Kind, threads: u32) -> Command {
        let start = kind.words.iter().flat_map(|words| words.split_whitespace()).map(|word| {
            // whole paths, as a resumed run has them: scans of pictures are kept under these
            word.strip_prefix("../").map_or(word.into(), |name| self.root.join(name).into_os_string())
        });
        let mut command = self.trainer();
        match self.has_run() {
            true => command.args(["--resume", "run", "--offline"]),
            false => command.args(start).args(["--run-dir", "run"]),
        };
        command.arg("--threads").arg(threads.to_string());
        command
    }

    fn trainer(&self) -> Command {
        let mut command = Command::new(&self.trainer);
        command.current_dir(&self.work);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command
    }

    /// Empties the place of the runs, up to an empty data folder.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn clear(&self) -> Result<()> {
        if self.work.exists() {
            fs::remove_dir_all(&self.work)?;
        }
        Ok(fs::create_dir_all(self.work.join("data"))?)
    }

    /// Keeps what is in the place of the runs for a person to look at, in [`DIFFERENCE`].
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn set_aside(&self) -> Result<()> {
        Ok(fs::rename(&self.work, self.root.join(DIFFERENCE))?)
    }

    /// Runs a kind of training undisturbed; then once more with another number of threads, and compares the two.
    ///
    /// # Errors
    /// If a run fails, or the two differ.
    pub fn reference(&self, kind: &'static Kind) -> Result<Reference> {
        if kind.words.contains(&BACKBONE) {
            self.make_weights()?;
        }
        self.clear()?;
        let took = self.undisturbed(self.command(kind, 2))?.took;
        let folder = self.root.join("references").join(kind.name);
        fs::create_dir_all(self.root.join("references"))?;
        fs::rename(&self.work, &folder)?;

        self.clear()?;
        let log = self.logs.join("strace");
        let command = self.command(kind, 1);
        let counted = self
            .strace
            .as_ref()
            .map(|strace| strace::wrapped(strace, &command, &["-e".into(), "trace=desc,file".into()], &log));
        self.undisturbed(counted.unwrap_or(command))?;
        let found = differences(&folder, &self.work)?;
        ensure!(found.is_empty(), "two undisturbed runs ({}) differ:\n{}", kind.name, found.join("\n"));
        let calls = match &self.strace {
            Some(_) => strace::calls_of_first(&String::from_utf8_lossy(&fs::read(&log)?)),
            None => BTreeMap::new(),
        };
        Ok(Reference { kind, folder, took, calls })
    }

    fn undisturbed(&self, command: Command) -> Result<Ended> {
        let shown = format!("{command:?}");
        let ended = process::run(command, &self.logs, None)?;
        ensure!(ended.is_success(), "{shown} failed undisturbed ({:?}):\n{}", ended.end, ended.stderr);
        Ok(ended)
    }

    /// Makes `weights.safetensors`, unless it is there.
    fn make_weights(&self) -> Result<()> {
        let weights = self.root.join("weights.safetensors");
        if weights.exists() {
            return Ok(());
        }
        self.clear()?;
        fs::write(self.root.join("weights.toml"), WEIGHTS_RECIPE)?;
        let mut command = self.trainer();
        command.args([
            "--recipe",
            "../weights.toml",
            "--dataset",
            "../photos",
            "--offline",
            "--run-dir",
            "run",
        ]);
        self.undisturbed(command)?;
        Ok(fs::rename(self.work.join("run/model.safetensors"), weights)?)
    }
}

/// Draws picture `i` of class `class` as a PNG: the hue of its class with noise. No other picture has the same size.
fn picture(class: usize, i: u64) -> Result<Vec<u8>> {
    let mut noise = Stream::new(class as u64, Purpose::Test, 0, i);
    let (height, width) = (25 + 2 * i as u32, 45 - i as u32);
    let hue = |channel: usize| if channel == class { 140 } else { 30 };
    let pixels: Vec<u8> =
        (0..height * width).flat_map(|_| [0, 1, 2]).map(|c| hue(c) + noise.next_u32() as u8 % 90).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(bytes)
}
