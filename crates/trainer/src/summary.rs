//! `trainer summary`: prints the layers of a network, with output shapes, parameters and multiply-adds.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tallow_core::Foreign;
use tallow_core::shown::shown_path;
use tallow_nn::{Graph, Model};
use tallow_report::chart::grouped;
use tallow_training::Override;

use crate::App;
use crate::args::SummaryArgs;
use crate::{export, model, output, recipe_input};

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a Foreign,
    input: [usize; 3],
    layers: &'a [Row],
    parameters: usize,
    multiply_adds: usize,
}

/// An operation of the network.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    layer: String,
    operation: &'static str,
    output: Vec<usize>,
    parameters: usize,
    multiply_adds: usize,
}

pub(crate) fn run(args: &SummaryArgs, app: &App) -> Result<ExitCode> {
    let (model, architecture, size_px) = network(args)?;
    let graph = model.graph(size_px)?;
    let rows = rows(&graph);
    let document = Document {
        architecture: &architecture,
        input: graph.input,
        layers: &rows,
        parameters: model.params.n_parameters(),
        multiply_adds: rows.iter().map(|row| row.multiply_adds).sum(),
    };
    match app.global.json {
        true => output::json(&document)?,
        false => output::line(&text(&document))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the network. Returns it, the name of its architecture, and the size of its images, [rows, columns] in px.
fn network(args: &SummaryArgs) -> Result<(Model, Foreign, [usize; 2])> {
    let name_in = |table: &toml::Table| -> Foreign {
        table.get("name").and_then(toml::Value::as_str).unwrap_or_default().into()
    };
    if let Some(path) = &args.model {
        let saved = model::read(path)?;
        let (model, preprocess) = export::built(&saved, path)?;
        return Ok((model, name_in(&saved.info.model), preprocess.size_px));
    }
    let source = args.recipe.as_deref().unwrap_or(Path::new(""));
    let overrides = args.set.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let recipe = recipe_input::load_recipe(source, &overrides)?;
    let model = tallow_models::architecture_of(&recipe.model)
        .and_then(|architecture| architecture.shapes(&recipe.model, args.classes))
        .with_context(|| format!("the network of the recipe {} cannot be built", shown_path(source)))?;
    let size_px = model.input_px.context("the recipe's network takes images of any size")?;
    Ok((model, name_in(&recipe.model), size_px))
}

fn rows(graph: &Graph) -> Vec<Row> {
    let row = |(index, node): (usize, &tallow_nn::Node)| Row {
        layer: node.layer().unwrap_or_default().to_owned(),
        operation: node.op.name(),
        output: node.shape.clone(),
        parameters: node.op.n_parameters(),
        multiply_adds: graph.multiply_adds(index),
    };
    graph.nodes.iter().enumerate().map(row).collect()
}

fn text(document: &Document<'_>) -> String {
    let sizes = |sizes: &[usize]| sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let header = ["layer", "operation", "output", "parameters", "multiply-adds"].map(str::to_owned);
    let mut lines = vec![header];
    for row in document.layers {
        let or_nothing = |n: usize| if n == 0 { String::new() } else { number(n) };
        lines.push([
            row.layer.clone(),
            row.operation.to_owned(),
            sizes(&row.output),
            or_nothing(row.parameters),
            or_nothing(row.multiply_adds),
        ]);
    }
    lines.push([
        "total".to_owned(),
        document.architecture.shown().into_owned(),
        format!("of {}", sizes(&document.input)),
        number(document.parameters),
        number(document.multiply_adds),
    ]);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let aligned = |line: &[String; 5]| {
        let [a, b, c, d, e] = widths;
        format!("{:a$}  {:b$}  {:c$}  {:>d$}  {:>e$}", line[0], line[1], line[2], line[3], line[4])
    };
    lines.iter().map(|line| aligned(line).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Formats a number like "1,234,567".
fn number(n: usize) -> String {
    grouped(n as f64, 0)
}
