//! Formats the figures of `trainer bench` for people.

use std::fmt::Write as _;

use crate::bench::{Figures, TimedPart};

pub(crate) fn text(f: &Figures) -> String {
    let [h, w] = f.input_px;
    let processor = f.processor.as_deref().map_or(String::new(), |name| format!("processor: {name}, "));
    let mut text = format!(
        "{}, {}, {}, batches of {} images of {h} x {w} pixels\n{processor}threads: {}, instruction set: {}\n\n",
        f.model, f.mode, f.precision, f.batch_size, f.n_threads, f.isa
    );
    let steps = format!(
        "median of {} steps; slowest {:.1}, fastest {:.1}",
        f.n_steps, f.images_per_second_min, f.images_per_second_max
    );
    let mut figure = |value: f64, what: &str, digits: usize| {
        let _ = writeln!(text, "{value:>10.digits$} {what}"); // writing to a string cannot fail
    };
    figure(f.images_per_second, &format!("images/s ({steps})"), 1);
    figure(1e3 * f.step_secs, "ms per step", 2);
    let of_peak = match (f.share_of_peak, f.peak_gflops) {
        (Some(share), Some(peak)) => {
            format!(", {:.1} % of the threads' peak of {peak:.1}", 100.0 * share)
        }
        _ => String::new(),
    };
    figure(f.gflops, &format!("GFLOP/s{of_peak}"), 1);
    if let Some(bytes) = f.peak_rss_bytes {
        figure(bytes as f64 / 1e6, "MB of memory at the peak", 1);
    }
    table(f, &mut text);
    text
}

fn table(f: &Figures, text: &mut String) {
    let width = |cell: fn(&TimedPart) -> &str| f.parts.iter().map(|part| cell(part).len()).max().unwrap_or(0);
    let (op, shape) =
        (width(|part| part.op).max("operation".len()), width(|part| &part.shape).max("shape".len()));
    let profiled_ms = 1e3 * f.profiled_step_secs;
    let _ = write!(
        text,
        "\n\
         Time of each operation in separate, profiled steps of {profiled_ms:.2} ms:\n\n\
         {:<op$}  {:<shape$} {:>6} {:>9} {:>8} {:>7}",
        "operation", "shape", "calls", "ms", "GFLOP/s", "share"
    );
    for part in &f.parts {
        let gflops = part.gflops.map_or(String::new(), |gflops| format!("{gflops:.1}"));
        let _ = write!(
            text,
            "\n{:<op$}  {:<shape$} {:>6} {:>9.3} {:>8} {:>5.1} %",
            part.op,
            part.shape,
            part.calls_per_step,
            1e3 * part.secs_per_step,
            gflops,
            100.0 * part.share
        );
    }
}
