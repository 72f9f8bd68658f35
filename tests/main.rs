//! The end-to-end tests on the built binary, as one program: its harness compiles once, and all tests share the cores.
//!
//! Tests that other commands run alone are programs of their own: `architectures`, `recipe_keys`, `readers`, `torture`.

#[path = "support/drawn.rs"]
mod drawn;
#[path = "support/http.rs"]
mod http;
mod support;
#[path = "support/tfevents.rs"]
mod tfevents;

mod bad_input;
mod bounds;
mod commands;
mod downstream;
mod ending;
mod eval;
mod export;
mod field;
mod find_lr;
mod folds;
mod full_cifar10;
mod muon;
mod nasty_names;
mod novelty;
mod paths;
mod photograph_runs;
mod photographs;
mod pictures;
mod places;
mod pretrained;
mod race;
mod ranks;
mod report;
mod resume;
mod runs;
mod seeds;
#[cfg(feature = "serve")]
mod serve;
mod speedrun;
mod tensorboard;
mod train;
mod transfer;
mod truth;
mod verify;
mod weights;
