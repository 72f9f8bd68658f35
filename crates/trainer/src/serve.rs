//! `trainer serve`: serves models over HTTP. This file opens the models and the listener; `tallow-serve` is the server.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use tallow_core::shown::{shown, shown_path};
use tallow_core::{Foreign, Progress as _, StopSignal};
use tallow_serve::{Limits, Served, serve};
use tallow_training::{Part, RunFolder, TrainData};

use crate::App;
use crate::args::ServeArgs;
use crate::model_at::{name_of, run_of};
use crate::source::{self, Spec};
use crate::{model, output, train};

#[derive(Serialize)]
struct Document<'a> {
    url: &'a str,
    models: Vec<&'a Foreign>,
}

pub(crate) fn run(args: &ServeArgs, app: &App) -> Result<ExitCode> {
    train::set_threads(args.threads)?;
    let listener = listen(SocketAddr::new(args.host, args.port))?;
    let address = listener.local_addr().context("cannot listen")?;
    let models = match open(args, app)? {
        Ok(models) => models,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let url = format!("http://{address}/");
    if !address.ip().is_loopback() {
        app.progress.say(&format!(
            "Note: whoever reaches {} can ask the models and see training pictures: there is no password",
            address.ip()
        ));
    }
    if app.global.json {
        let models = models.iter().map(|model| &model.name).collect();
        output::json(&Document { url: &url, models })?;
    } else {
        output::line(&url)?;
    }
    if args.open
        && let Err(e) = open::that_detached(&url)
    {
        app.progress.say(&format!("Note: {url} could not be opened: {e}"));
    }
    let limits = Limits {
        max_body_bytes: usize::from(args.max_body_mb) << 20,
        max_pixels: 1_000_000 * u64::from(args.max_megapixels),
        n_waiting: args.queue as usize,
        host_names: args.allow_host.clone(),
        ..Limits::default()
    };
    serve(listener, models, limits, &app.stop)?;
    Ok(ExitCode::SUCCESS)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "port {} is in use: name another with --port, or let the system choose one with --port 0",
            address.port()
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("port {} is not for everybody: name one from 1024 on with --port", address.port())
        }
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow!("this machine has not the address {}: name one of its own with --host", address.ip())
        }
        _ => anyhow!(e).context(format!("cannot listen at {address}")),
    })
}

/// Opens all models, and gives each a unique name. Returns the signal if a stop was requested meanwhile.
fn open(args: &ServeArgs, app: &App) -> Result<std::result::Result<Vec<Served>, StopSignal>> {
    let mut models: Vec<Served> = Vec::new();
    for path in &args.models {
        let predictor = model::open(path, &args.device)?;
        let wanted = name_of(path);
        let is_taken = |name: &str| models.iter().any(|model| model.name == name);
        let numbered = (2..).map(|i| format!("{wanted}-{i}"));
        let name = std::iter::once(wanted.clone()).chain(numbered).find(|name| !is_taken(name));
        let mut served = Served { name: name.unwrap_or(wanted).into(), predictor, training_images: None };
        let told = name_nearest(&mut served, path, usize::from(args.nearest), app);
        if let Some(signal) = app.stop.raised() {
            return Ok(Err(signal));
        }
        if let Err(why) = told {
            let name = served.name.shown();
            app.progress.say(&format!("Note: no training pictures beside the answers of {name}: {why:#}"));
        }
        models.push(served);
    }
    Ok(Ok(models))
}

/// Makes a model name the nearest training pictures in its answers. Does nothing if `n` is 0, the model has no features, or a
/// stop was requested.
///
/// # Errors
/// If the run's data set cannot be loaded or has changed, or the features of its training pictures are not cached any more.
fn name_nearest(served: &mut Served, path: &Path, n: usize, app: &App) -> Result<()> {
    if n == 0 || !served.predictor.has_features() {
        return Ok(());
    }
    let config = RunFolder::recipe_of(run_of(path))?.data;
    let spec = Spec::parse(&config.dataset)?;
    let Ok(dataset) = source::load_local(&spec, &config, false, app)?.told(app) else {
        return Ok(()); // a stop was requested
    };
    let info = served.predictor.info();
    if dataset.digest != info.data_digest {
        return Err(anyhow!("the data set {} has changed since the run", shown(&config.dataset)));
    }
    let part: Part = TrainData::of_model(dataset, info)?.train;
    match served.predictor.name_nearest(&part, &config.data_dir, n, &app.progress)? {
        true => {
            served.training_images = Some(part.set);
            Ok(())
        }
        false => Err(anyhow!("their features are not kept any more in {}", shown_path(&config.data_dir))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_a_remedy() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let message = listen(first.local_addr().unwrap()).unwrap_err().to_string();
        assert!(message.contains("is in use") && message.contains("--port 0"), "{message}");
    }
}
