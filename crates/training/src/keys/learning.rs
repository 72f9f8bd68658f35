//! The keys for learning: `[whitening]`, `[loss]`, `[optimizer]`, `[[param_groups]]`, `[schedule]`, `[[extensions]]`,
//! `[averaging]`, `[evaluation]`, `[callbacks]`.
//!
//! A key that means different things in two kinds of a table has an entry for each. Its value is dropped when the kind
//! changes: a rate of SGD does not suit Adam, and a decay added to the gradient differs from one that shrinks the weights.

use tallow_core::keys::{Key, Takes};

const ADAMS: &[&str] = &["adam", "adamw"];
const MUON_ALONE: &[&str] = &["muon"];
const WITH_HORIZON: &[&str] = &["cosine", "one_cycle", "linear"];
const MONITOR: Takes = Takes::Choice(&["loss", "accuracy", "val_loss", "val_accuracy"]);

const SPEEDRUN: &str = "https://arxiv.org/abs/2404.00498";
const ADAM: &str = "https://arxiv.org/abs/1412.6980";
const ADAMW: &str = "https://arxiv.org/abs/1711.05101";
const MUON: &str = "https://kellerjordan.github.io/posts/muon/";
const AIRBENCH: &str = "https://github.com/KellerJordan/cifar10-airbench";
const COSINE: &str = "https://arxiv.org/abs/1608.03983";
const ONE_CYCLE: &str = "https://arxiv.org/abs/1708.07120";
const NESTEROV: &str = "https://proceedings.mlr.press/v28/sutskever13.html";
const STEP: &str = "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html";
const EARLY_STOPPING: &str = "https://keras.io/api/callbacks/early_stopping/";
const PLATEAU: &str = "https://keras.io/api/callbacks/reduce_lr_on_plateau/";

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "whitening.images",
        Takes::Whole,
        "Number of training images, evenly spaced over all, whose patches are used.",
    )
    .range("of 1 or more")
    .unit("images")
    .or("5000")
    .source(SPEEDRUN),
    Key::new("whitening.eps", Takes::Number, "Number added to the variance in each direction.")
        .range("above 0")
        .or("0.0005")
        .source(SPEEDRUN),
    Key::new(
        "loss.label_smoothing",
        Takes::Number,
        "The share of each target that is spread over all classes.",
    )
    .range("in [0, 1)")
    .unit("share")
    .or("0.0")
    .source("https://arxiv.org/abs/1512.00567"),
    Key::new(
        "loss.class_weights",
        Takes::WordOrWeights("balanced"),
        "A weight for each class: a list in the order of the classes, or a table by class name (other \
         classes have the weight 1). balanced: all classes count the same, however many images they have.",
    )
    .range("of 0 or more")
    .or_else("every image counts the same")
    .source("https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html"),
    Key::new(
        "loss.reduction",
        Takes::Choice(&["mean", "sum"]),
        "Minimised value: the mean over a batch's images, or their sum; with the sum, the gradient grows \
         with the batch. With class weights, the mean is divided by the sum of the images' weights, and the \
         sum is not. The reported loss is the mean in both cases; max_grad_norm applies to the gradient as \
         it is.",
    )
    .or("\"mean\"")
    .source("https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html"),
    Key::new(
        "optimizer.kind",
        Takes::Choice(&["sgd", "adam", "adamw", "muon"]),
        "The optimiser: SGD with momentum, Adam, AdamW (Adam with decoupled weight decay), or Muon for all \
         matrices (a filter is a row) with SGD for the other parameters.",
    ),
    Key::new("optimizer.lr", Takes::Number, "The highest learning rate; the schedule multiplies it.")
        .range("of 0 or more")
        .of(&["sgd"])
        .or("0.01"),
    Key::new("optimizer.lr", Takes::Number, "The highest learning rate; the schedule multiplies it.")
        .range("of 0 or more")
        .of(ADAMS)
        .or("0.001")
        .source(ADAM),
    Key::new(
        "optimizer.lr",
        Takes::Number,
        "The highest learning rate of matrices; the schedule multiplies it, and the rate of SGD with it. \
         For matrices with more rows than columns it is larger by sqrt(rows / columns).",
    )
    .range("above 0")
    .of(MUON_ALONE)
    .or("0.02")
    .source(MUON),
    Key::new(
        "optimizer.momentum",
        Takes::Number,
        "The share of the last step's direction that is kept; 0: none.",
    )
    .range("in [0, 1)")
    .unit("share")
    .of(&["sgd"])
    .or("0.0"),
    Key::new("optimizer.nesterov", Takes::YesNo, "Nesterov's momentum, which needs a momentum above 0.")
        .of(&["sgd"])
        .or("false")
        .source(NESTEROV),
    Key::new(
        "optimizer.momentum",
        Takes::Number,
        "The share of the last step's direction that is kept; 0: none.",
    )
    .range("in [0, 1)")
    .unit("share")
    .of(MUON_ALONE)
    .or("0.95")
    .source(MUON),
    Key::new("optimizer.nesterov", Takes::YesNo, "Nesterov's momentum, which needs a momentum above 0.")
        .of(MUON_ALONE)
        .or("true")
        .source(MUON),
    Key::new(
        "optimizer.ns_steps",
        Takes::Whole,
        "Number of Newton-Schulz iterations, which make the singular values of a step nearly equal.",
    )
    .range("from 1 to 99")
    .of(MUON_ALONE)
    .or("5")
    .source(MUON),
    Key::new(
        "optimizer.filter_norm",
        Takes::YesNo,
        "Whether each matrix is scaled to the norm sqrt(rows) before each step. Filters then have a mean \
         norm of 1, and the rate is a share of that. For networks with a normalisation layer after each \
         convolution.",
    )
    .of(MUON_ALONE)
    .or("false")
    .source(AIRBENCH),
    Key::new("optimizer.beta1", Takes::Number, "The decay of the mean of gradients.")
        .range("in [0, 1)")
        .of(ADAMS)
        .or("0.9")
        .source(ADAM),
    Key::new("optimizer.beta2", Takes::Number, "The decay of the mean of squared gradients.")
        .range("in [0, 1)")
        .of(ADAMS)
        .or("0.999")
        .source(ADAM),
    Key::new("optimizer.eps", Takes::Number, "Number added to the denominator.")
        .range("above 0")
        .of(ADAMS)
        .or("1e-8")
        .source(ADAM),
    Key::new("optimizer.weight_decay", Takes::Number, "This share of the weight is added to the gradient.")
        .range("of 0 or more")
        .of(&["sgd", "adam"])
        .or("0.0"),
    Key::new(
        "optimizer.weight_decay",
        Takes::Number,
        "In each step a weight shrinks by the share lr * weight_decay.",
    )
    .range("of 0 or more")
    .of(&["adamw"])
    .or("0.0")
    .source(ADAMW),
    Key::new(
        "optimizer.weight_decay",
        Takes::Number,
        "In each step a matrix shrinks by the share lr * weight_decay.",
    )
    .range("of 0 or more")
    .of(MUON_ALONE)
    .or("0.0")
    .source(ADAMW),
    Key::new(
        "optimizer.sgd.lr",
        Takes::Number,
        "The learning rate of SGD while Muon's is optimizer.lr; the two rise and fall together.",
    )
    .range("of 0 or more")
    .of(MUON_ALONE)
    .or("0.01"),
    Key::new(
        "optimizer.sgd.momentum",
        Takes::Number,
        "The share of the last step's direction that is kept; 0: none.",
    )
    .range("in [0, 1)")
    .unit("share")
    .of(MUON_ALONE)
    .or("0.9"),
    Key::new("optimizer.sgd.nesterov", Takes::YesNo, "Nesterov's momentum, which needs a momentum above 0.")
        .of(MUON_ALONE)
        .or("true")
        .source(NESTEROV),
    Key::new(
        "optimizer.sgd.weight_decay",
        Takes::Number,
        "This share of the weight is added to the gradient.",
    )
    .range("of 0 or more")
    .of(MUON_ALONE)
    .or("0.0"),
    Key::new(
        "param_groups.pattern",
        Takes::Text,
        "The names of the parameters; * stands for any characters, as in layer4.*",
    ),
    Key::new(
        "param_groups.n_dims",
        Takes::Whole,
        "Only parameters with this many dimensions; 1: biases, and the parameters of norms.",
    )
    .or_else("any number"),
    Key::new(
        "param_groups.lr_factor",
        Takes::Number,
        "Multiplies the learning rate; 0 keeps the weights as they are.",
    )
    .range("of 0 or more")
    .or("1.0")
    .source("https://arxiv.org/abs/1801.06146"),
    Key::new("param_groups.weight_decay", Takes::Number, "The weight decay instead of the optimiser's.")
        .range("of 0 or more")
        .or_else("the optimiser's"),
    Key::new(
        "param_groups.optimizer",
        Takes::Choice(&["sgd"]),
        "The optimiser for these parameters instead of Muon, with the settings of optimizer.sgd; for \
         example, for a head. Only with optimizer.kind = muon.",
    )
    .or_else("Muon for matrices, SGD for the rest; any other optimiser for all"),
    Key::new(
        "param_groups.until_epoch",
        Takes::Number,
        "End of their learning: the rate falls linearly from its base times lr_factor to 0 at this epoch, \
         instead of the schedule and its warm-up. From then on the weights stay fixed.",
    )
    .range("above 0")
    .unit("epochs")
    .or_else("they learn until the run ends, with the schedule")
    .source(AIRBENCH),
    Key::new(
        "schedule.kind",
        Takes::Choice(&["constant", "step", "cosine", "one_cycle", "linear"]),
        "Shape of the rate: constant, down in steps, down as half a cosine, up and down again, or linearly \
         down.",
    ),
    Key::new(
        "schedule.warmup_epochs",
        Takes::Number,
        "Warm-up: the first epochs, in which the rate rises linearly from 0.",
    )
    .range("of 0 or more")
    .unit("epochs")
    .or("0.0")
    .source("https://arxiv.org/abs/1706.02677"),
    Key::new("schedule.every_epochs", Takes::Whole, "Number of epochs with the same rate.")
        .range("of 1 or more")
        .unit("epochs")
        .of(&["step"])
        .or("10")
        .source(STEP),
    Key::new("schedule.gamma", Takes::Number, "Ratio of each rate to the one before.")
        .range("above 0")
        .of(&["step"])
        .or("0.1")
        .source(STEP),
    Key::new(
        "schedule.horizon_epochs",
        Takes::Number,
        "End of the schedule, counted from the start of training.",
    )
    .range("above schedule.warmup_epochs")
    .unit("epochs")
    .of(WITH_HORIZON)
    .or_else("at the end of the run"),
    Key::new("schedule.peak_at", Takes::Number, "Position of the highest rate, as a share of the cycle.")
        .range("between 0 and 1")
        .unit("share")
        .of(&["one_cycle"])
        .or("0.25")
        .source(ONE_CYCLE),
    Key::new("schedule.initial_factor", Takes::Number, "Factor on the rate at the start of the cycle.")
        .range("of 0 or more")
        .of(&["one_cycle"])
        .or("0.05")
        .source(ONE_CYCLE),
    Key::new("schedule.final_factor", Takes::Number, "Factor on the rate at the end.")
        .range("of 0 or more")
        .of(WITH_HORIZON)
        .or("0.0")
        .source(COSINE),
    Key::new("extensions.from_epoch", Takes::Whole, "Epochs before the extension.").unit("epochs"),
    Key::new(
        "extensions.to_epoch",
        Takes::Whole,
        "Epochs at the end of the extension, more than from_epoch.",
    )
    .unit("epochs"),
    Key::new(
        "extensions.factor",
        Takes::Number,
        "The share of optimizer.lr at which the extension begins; from there the rate falls linearly to the \
         end of the schedule.",
    )
    .range("of 0 or more"),
    Key::new(
        "averaging.kind",
        Takes::Choice(&["ema", "last_epochs"]),
        "The kind of average: an exponential moving average after each step, or the mean of the weights \
         after each of the last epochs.",
    )
    .or("\"ema\""),
    Key::new(
        "averaging.decay",
        Takes::Number,
        "The share of the average that a step keeps; less in the first steps.",
    )
    .range("in [0, 1)")
    .unit("share")
    .of(&["ema"])
    .or("0.999")
    .source("https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage"),
    Key::new("averaging.epochs", Takes::Whole, "Number of last epochs to average.")
        .range("of 1 or more")
        .unit("epochs")
        .of(&["last_epochs"])
        .or("5")
        .source("https://arxiv.org/abs/1803.05407"),
    Key::new(
        "evaluation.flip",
        Takes::YesNo,
        "Whether logits are averaged over a picture and its mirror image, which takes twice the time.",
    )
    .or("false")
    .source(SPEEDRUN),
    Key::new(
        "evaluation.shift_px",
        Takes::Whole,
        "Logits are averaged over a picture and two copies shifted by this much: one up and left, one down \
         and right. The two copies together weigh as much as the picture. This takes three times the time; \
         0: no copies.",
    )
    .unit("px")
    .or("0")
    .source(SPEEDRUN),
    Key::new("callbacks.early_stopping.monitor", MONITOR, "The metric that decides.")
        .or("\"val_loss\"")
        .source(EARLY_STOPPING),
    Key::new(
        "callbacks.early_stopping.patience",
        Takes::Whole,
        "Number of epochs in a row without a gain after which the run ends.",
    )
    .unit("epochs")
    .or("10")
    .source(EARLY_STOPPING),
    Key::new(
        "callbacks.early_stopping.min_delta",
        Takes::Number,
        "A gain counts only if it is greater than this.",
    )
    .range("of 0 or more")
    .unit("the metric's own")
    .or("0.0")
    .source(EARLY_STOPPING),
    Key::new(
        "callbacks.early_stopping.restore_best_weights",
        Takes::YesNo,
        "Whether the run ends with the weights of its best epoch instead of its last one, even if it was \
         not stopped early.",
    )
    .or("true")
    .source(EARLY_STOPPING),
    Key::new("callbacks.reduce_lr_on_plateau.monitor", MONITOR, "The metric that decides.")
        .or("\"val_loss\"")
        .source(PLATEAU),
    Key::new(
        "callbacks.reduce_lr_on_plateau.factor",
        Takes::Number,
        "Factor by which the rate is multiplied.",
    )
    .range("between 0 and 1")
    .or("0.1")
    .source(PLATEAU),
    Key::new(
        "callbacks.reduce_lr_on_plateau.patience",
        Takes::Whole,
        "Number of epochs in a row without a gain after which the rate is lowered.",
    )
    .unit("epochs")
    .or("10")
    .source(PLATEAU),
    Key::new(
        "callbacks.reduce_lr_on_plateau.min_delta",
        Takes::Number,
        "A gain counts only if it is greater than this.",
    )
    .range("of 0 or more")
    .unit("the metric's own")
    .or("0.0001")
    .source(PLATEAU),
    Key::new(
        "callbacks.reduce_lr_on_plateau.cooldown",
        Takes::Whole,
        "Number of epochs after a reduction that are not counted.",
    )
    .unit("epochs")
    .or("0")
    .source(PLATEAU),
    Key::new("callbacks.reduce_lr_on_plateau.min_lr", Takes::Number, "The lowest rate.")
        .range("of 0 or more")
        .or("0.0")
        .source(PLATEAU),
];
