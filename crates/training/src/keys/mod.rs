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
        "The run as a whole. A file may also begin with base = \"cnn\", the name or the file of the recipe \
         that it builds on",
    ),
    Section::new("data", "The images, and how they are resized to the model's size"),
    Section::new("data.normalization", "Mean and standard deviation for the normalisation of pixels")
        .optional(),
    Section::new("augment", "Augmentation of each training image"),
    Section::new("augment.random_resized_crop", "A random part of the image, enlarged to the whole size")
        .optional(),
    Section::new("mix", "Mixing of the images in a batch"),
    Section::new(
        "whitening",
        "Filters of the first convolution, computed from patches of the training images before training; \
         for models with such filters",
    )
    .optional(),
    Section::new("loss", "The loss: softmax cross-entropy"),
    Section::new("optimizer", "The optimiser; its kinds are PyTorch's").tagged("kind"),
    Section::new(
        "optimizer.sgd",
        "Beside Muon: SGD for parameters that are not matrices, and for groups that ask for it",
    ),
    Section::new(
        "param_groups",
        "Separate settings for some parameters; the first entry that matches a parameter counts",
    )
    .list(),
    Section::new("schedule", "The learning rate over the run, as a factor on optimizer.lr").tagged("kind"),
    Section::new("extensions", "Additional epochs of an extended run; the run writes this table itself")
        .list(),
    Section::new("averaging", "Averages of the weights; validation and the finished model use them")
        .tagged("kind")
        .optional(),
    Section::new(
        "evaluation",
        "Views of a picture that the finished model averages over in the test, eval and predict; validation \
         after an epoch uses one view",
    ),
    Section::new("callbacks", "Actions between epochs, as in Keras"),
    Section::new("callbacks.early_stopping", "Ends a run that no longer improves").optional(),
    Section::new(
        "callbacks.reduce_lr_on_plateau",
        "Lowers the learning rate when the run no longer improves",
    )
    .optional(),
];

const RUN: &[Key] = &[
    Key::new("name", Takes::Text, "The recipe's name; run folders are named after it.")
        .range("usable as a folder's name")
        .or_else("the name of the file"),
    Key::new("epochs", Takes::Whole, "Passes over the training data.").range("of 1 or more").unit("epochs"),
    Key::new("batch_size", Takes::Whole, "Images per step.").range("of 1 or more").unit("images"),
    Key::new(
        "shards",
        Takes::Whole,
        "Number of parts that each batch is cut into. Each part has its own batch norm statistics, and any number of \
         processes up to this one can share the work, with the same bits. 1: batches are not cut.",
    )
    .range("of 1, 2, 4, 8, 16, 32 or 64")
    .or_else("1; 8 if a launcher started the process"),
    Key::new("seed", Takes::Whole, "The seed of every random choice: the same seed gives the same bits.")
        .or("0"),
    Key::new("device", Takes::Text, "Compute device: auto, cpu, cuda, cuda:N or metal.").or("\"auto\""),
    Key::new(
        "precision",
        Takes::Choice(&["auto", "f32", "bf16"]),
        "Precision in which activations are stored and multiplied. auto: the best that the device supports \
         natively. Sums, weights and loss are always f32.",
    )
    .or("\"auto\"")
    .source("https://arxiv.org/abs/1905.12322"),
    Key::new(
        "max_grad_norm",
        Takes::Number,
        "Largest global norm of the gradients; larger gradients are scaled down to it.",
    )
    .range("above 0")
    .or_else("gradients are not scaled")
    .source("https://arxiv.org/abs/1211.5063"),
    Key::new("init_from", Takes::Path, "The run folder or model file whose weights the run starts from.")
        .or_else("the model's own initial weights"),
    Key::new("model", Takes::Table, "The architecture's name and its settings."),
];

/// Returns the keys of a recipe, except those of its `[model]` table. That table is accepted unchecked until a caller adds
/// its keys.
pub fn recipe_keys() -> KeyTable {
    KeyTable::default().with(SECTIONS, RUN).with(&[], data::KEYS).with(&[], learning::KEYS)
}

#[cfg(test)]
mod tests;
