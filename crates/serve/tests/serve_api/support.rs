//! Servers with networks of one linear layer, and pictures for them.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tallow_core::{Purpose, StopFlag, StopSignal, Stream};
use tallow_nn::{Act, Ctx, Device, Flatten, Layer, Linear, Model, NnError, ParamStore, Sequential};
use tallow_serve::{Limits, ServeError, Served, serve};
use tallow_training::Predictor;

/// The classes of every model here.
pub(crate) const CLASSES: [&str; 4] = ["cat", "<b>dog</b>", "owl", "ant"];
/// Rows and columns that pictures are fitted to.
pub(crate) const SIZE_PX: [usize; 2] = [6, 8];

/// A test's handle on a network: pauses it, and reads the sizes of its batches.
#[derive(Default)]
pub(crate) struct Watched {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_held: bool,
    /// Sizes of the batches so far, including one that is held.
    batches: Vec<usize>,
}

impl Watched {
    /// Makes batches wait from now on.
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().is_held = true;
    }

    pub(crate) fn let_go(&self) {
        self.state.lock().unwrap().is_held = false;
        self.changed.notify_all();
    }

    pub(crate) fn batches(&self) -> Vec<usize> {
        self.state.lock().unwrap().batches.clone()
    }
}

/// A layer that returns its input, but waits while a test holds it. It fails on white pictures, and panics on black ones.
struct Gate(Arc<Watched>);

impl Layer for Gate {
    fn forward(&self, x: Act, _ctx: &mut Ctx) -> Result<Act, NnError> {
        let mut state = self.0.state.lock().unwrap();
        state.batches.push(x.dims().n);
        while state.is_held {
            state = self.0.changed.wait(state).unwrap();
        }
        drop(state);
        let values = x.to_vec()?;
        let is_all = |value: f32| {
            values.chunks(values.len() / x.dims().n).any(|image| image.iter().all(|v| *v == value))
        };
        assert!(!is_all(0.0), "a black picture");
        match is_all(1.0) {
            true => Err(NnError::Format("a white picture".into())),
            false => Ok(x),
        }
    }
}

/// Creates a predictor of a network with weights of this seed.
pub(crate) fn predictor(seed: u64, watched: &Arc<Watched>) -> Predictor {
    let mut params = ParamStore::new(seed, &Device::Cpu);
    let mut network = Sequential::new();
    network.push(Gate(Arc::clone(watched)));
    network.push(Flatten);
    let n_features = SIZE_PX[0] * SIZE_PX[1] * 3;
    network.push(Linear::new(&mut params.root().sub("fc"), n_features, CLASSES.len(), true).unwrap());
    let mut model = Model::new(network, params);
    model.input_px = Some(SIZE_PX);
    let info = json!({
        "version": 1, "model": {"name": "custom"}, "class_names": CLASSES, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        "dataset": "none", "data_digest": "", "split_seed": 0, "val_fraction": 0.1, "validate_on": "split",
        "train_subset": null, "recipe": "none", "epoch": 1, "precision": "f32", "temperature": 0.5,
    });
    Predictor::new(serde_json::from_value(info).unwrap(), model, None)
}

/// A running server, which is stopped when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The handle on each model's network.
    pub(crate) watched: Vec<Arc<Watched>>,
    pub(crate) stop: StopFlag,
    work: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Starts a server with the models "first" and "second".
    pub(crate) fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), StopFlag::default());
        let watched: Vec<Arc<Watched>> = vec![Arc::default(), Arc::default()];
        let served = |(i, name): (usize, &str)| Served {
            name: name.into(),
            predictor: predictor(i as u64, &watched[i]),
            training_images: None,
        };
        let models = ["first", "second"].into_iter().enumerate().map(served).collect();
        let flag = stop.clone();
        let work = std::thread::spawn(move || serve(listener, models, limits, &flag));
        Self { address, watched, stop, work: Some(work) }
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn end(mut self) -> Result<(), ServeError> {
        self.stop.raise(StopSignal::Terminate);
        self.work.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.raise(StopSignal::Terminate);
        self.watched.iter().for_each(|watched| watched.let_go());
        if let Some(work) = self.work.take() {
            let _ = work.join();
        }
    }
}

/// Returns a PNG with all values equal to `level`.
pub(crate) fn plain(height: u32, width: u32, level: u8) -> Vec<u8> {
    png(height, width, &vec![level; (3 * height * width) as usize])
}

/// Returns a PNG of noise. The content and the size depend on `i`.
pub(crate) fn noise(i: u64) -> Vec<u8> {
    let mut stream = Stream::new(0, Purpose::Test, 0, i);
    let (height, width) = (9 + i as u32 % 5, 12 + i as u32 % 7);
    png(height, width, &(0..3 * height * width).map(|_| stream.next_u32() as u8).collect::<Vec<_>>())
}

fn png(height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    bytes
}

/// Waits until `is_so` returns true. Panics with `what` after 30 s.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
