//! Every key of a recipe: its type, its default and its meaning. Listings and documentation pages are made from this table,
//! and recipes are checked against it. A test compares it with what `recipe.rs` reads.
//!
//! Values that a recipe leaves out are filled in from this table before the recipe is read, in files and overrides alike. The
//! keys of `[model]` belong to the architectures; the caller that knows the architectures adds them.

mod data;
mod learning;

use tallow_core::keys::{Key, KeyTable, Section, Takes};

/// The tables of a recipe.
const SECTIONS: &[Section] = &[
    Section::new(
        "",
        "The run as a whole. A file may also begin with base = \"cnn\": the recipe that it builds on, by name or file",
    ),
    Section::new("data", "Which images, and how they come to the model's size"),
    Section::new("data.normalization", "What pixels are normalised by").optional(),
    Section::new("augment", "What is done to training images, each by itself"),
    Section::new("augment.random_resized_crop", "A part of the image, enlarged to its whole size").optional(),
    Section::new("mix", "Whether images of a batch are mixed with one another"),
    Section::new(
        "whitening",
        "The first convolution's filters made from patches of the training images, before training; for models that have such",
    )
    .optional(),
    Section::new("loss", "The loss: softmax cross-entropy"),
    Section::new("optimizer", "The optimiser; its kinds are PyTorch's").tagged("kind"),
    Section::new("optimizer.sgd", "Beside Muon: SGD for what is no matrix, and for groups that ask for it"),
    Section::new(
        "param_groups",
        "Rates, decays and ends of their own for some parameters; the first entry that fits counts",
    )
    .list(),
    Section::new("schedule", "The learning rate over the run, as a factor on optimizer.lr").tagged("kind"),
    Section::new(
        "extensions",
        "Epochs beyond those that the run was started with; written by a run that is extended",
    )
    .list(),
    Section::new("averaging", "Averages of the weights, which validation and the finished model have")
        .tagged("kind")
        .optional(),
    Section::new(
        "evaluation",
        "How the finished model looks at a picture, in the test, eval and predict; validation in epochs looks once",
    ),
    Section::new("callbacks", "What happens between epochs, with Keras' semantics"),
    Section::new("callbacks.early_stopping", "The end of a run that no longer improves").optional(),
    Section::new("callbacks.reduce_lr_on_plateau", "A lower learning rate where the run no longer improves")
        .optional(),
];

const RUN: &[Key] = &[
    Key::new("name", Takes::Text, "The recipe's name, which run folders are called after. A file's is its own name.")
        .range("fit for a folder's name")
        .or_else("the name of the file"),
    Key::new("epochs", Takes::Whole, "Passes over the training data.").range("of 1 or more").unit("epochs"),
    Key::new("batch_size", Takes::Whole, "Images per step.").range("of 1 or more").unit("images"),
    Key::new("seed", Takes::Whole, "The seed of every random choice: the same seed gives the same bits.").or("0"),
    Key::new("device", Takes::Text, "What computes: auto, cpu, cuda, cuda:N or metal.").or("\"auto\""),
    Key::new(
        "precision",
        Takes::Choice(&["auto", "f32", "bf16"]),
        "What activations are kept and multiplied in. auto: the best that the device computes natively; sums, weights and \
         loss are f32 always.",
    )
    .or("\"auto\"")
    .source("https://arxiv.org/abs/1905.12322"),
    Key::new("max_grad_norm", Takes::Number, "Gradients are scaled down to this global norm where theirs is larger.")
        .range("above 0")
        .or_else("gradients are taken as they are")
        .source("https://arxiv.org/abs/1211.5063"),
    Key::new("init_from", Takes::Path, "The run folder or model file whose weights the run starts from.")
        .or_else("the model's own initial weights"),
    Key::new("model", Takes::Table, "The architecture, by its name, with what it wants to know."),
];

/// Returns the keys of a recipe, except those of its `[model]` table. That table is accepted unchecked until a caller adds
/// its keys.
pub fn recipe_keys() -> KeyTable {
    KeyTable::default().with(SECTIONS, RUN).with(&[], data::KEYS).with(&[], learning::KEYS)
}

#[cfg(test)]
mod tests;
