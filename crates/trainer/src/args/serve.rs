//! Arguments of `trainer serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
The page at the printed address takes pictures that are dropped, chosen, pasted or taken by the camera. POST /predict takes a \
picture, or several as a form; /openapi.json describes the API. Ctrl-C finishes open requests, then ends.

Only this machine reaches the server, unless --host says otherwise. It has no password.

Examples:
  trainer serve runs/photos-1 --open
  trainer serve runs/photos-1 runs/photos-2 --port 0
  curl -s --data-binary @cat.jpg 'http://127.0.0.1:8000/predict?top_k=5'
  curl -s -F a=@cat.jpg -F b=@dog.jpg 'http://127.0.0.1:8000/predict?model=photos-1'")]
pub(crate) struct ServeArgs {
    /// Run folders or model files; the first is the default model
    #[arg(required = true, value_name = "RUN|MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// The address to listen at; 0.0.0.0 for all addresses of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// The port to listen at; 0 for any that is free
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub(crate) port: u16,
    /// A further name by which requests may address the server, as a proxy in front of it passes it on; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Show the page in the browser
    #[arg(long)]
    pub(crate) open: bool,
    /// Number of nearest training pictures in an answer, if the run's features and pictures still exist
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=20))]
    pub(crate) nearest: u8,
    /// The longest body of a request
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_body_mb: u16,
    /// The largest picture; checked in its header before decoding
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) max_megapixels: u16,
    /// Largest number of waiting pictures; further requests are told when to try again
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) queue: u32,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}
