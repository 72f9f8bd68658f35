//! Arguments of `trainer serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
The page at the printed address takes pictures that are dropped, chosen, pasted or taken by the camera. POST /predict takes a\n\
picture, or several as a form; /openapi.json says all that can be asked. Ctrl-C answers who has asked, and ends.

Nothing but this machine reaches the server unless --host says otherwise; it has no password.

Examples:
  trainer serve runs/photos-1 --open
  trainer serve runs/photos-1 runs/photos-2 --port 0
  curl -s --data-binary @cat.jpg 'http://127.0.0.1:8000/predict?top_k=5'
  curl -s -F a=@cat.jpg -F b=@dog.jpg 'http://127.0.0.1:8000/predict?model=photos-1'")]
pub(crate) struct ServeArgs {
    /// Run folders, or model files; requests that name none ask the first
    #[arg(required = true, value_name = "RUN|MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// The address to listen at; 0.0.0.0 for every one of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// The port to listen at; 0 for any that is free
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub(crate) port: u16,
    /// Show the page in the browser
    #[arg(long)]
    pub(crate) open: bool,
    /// How many of the nearest training pictures are told, where a run has their features and its pictures are still there
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=20))]
    pub(crate) nearest: u8,
    /// The longest body of a request
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_body_mb: u16,
    /// The largest picture; told by its header, before it is decoded
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) max_megapixels: u16,
    /// How many pictures may wait; whoever asks then is told when to try again
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) queue: u32,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}
