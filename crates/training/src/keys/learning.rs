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
    Key::new("whitening.images", Takes::Whole, "Of how many training images, evenly taken from all, patches are looked at.")
        .range("of 1 or more")
        .unit("images")
        .or("5000")
        .source(SPEEDRUN),
    Key::new("whitening.eps", Takes::Number, "Added to the variance in each direction.")
        .range("above 0")
        .or("0.0005")
        .source(SPEEDRUN),
    Key::new("loss.label_smoothing", Takes::Number, "The share of each target that is spread over all classes.")
        .range("in [0, 1)")
        .unit("share")
        .or("0.0")
        .source("https://arxiv.org/abs/1512.00567"),
    Key::new(
        "loss.class_weights",
        Takes::WordOrWeights("balanced"),
        "A weight per class: in their order, by name (the others weigh 1), or balanced: classes count alike, however many \
         images they have.",
    )
    .range("of 0 or more")
    .or_else("every image counts alike")
    .source("https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html"),
    Key::new(
        "loss.reduction",
        Takes::Choice(&["mean", "sum"]),
        "What is made small: the mean over a batch's images, or their sum, by which the gradient grows with the batch. With \
         weights of classes: divided by the sum of the images' weights, or not. What is told as loss is the mean in either \
         case; max_grad_norm looks at the gradient as it is.",
    )
    .or("\"mean\"")
    .source("https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html"),
    Key::new(
        "optimizer.kind",
        Takes::Choice(&["sgd", "adam", "adamw", "muon"]),
        "Which optimiser: SGD with momentum, Adam, Adam with a decay of its own, or Muon for all that is a matrix (a filter is \
         a row) with SGD beside it for the rest.",
    ),
    Key::new("optimizer.lr", Takes::Number, "The learning rate at its highest; the schedule multiplies it.")
        .range("of 0 or more")
        .of(&["sgd"])
        .or("0.01"),
    Key::new("optimizer.lr", Takes::Number, "The learning rate at its highest; the schedule multiplies it.")
        .range("of 0 or more")
        .of(ADAMS)
        .or("0.001")
        .source(ADAM),
    Key::new(
        "optimizer.lr",
        Takes::Number,
        "The learning rate of matrices at its highest; the schedule multiplies it, and that of SGD with it. Of matrices with \
         more rows than columns it is larger by sqrt(rows / columns).",
    )
    .range("above 0")
    .of(MUON_ALONE)
    .or("0.02")
    .source(MUON),
    Key::new("optimizer.momentum", Takes::Number, "The share of the last step's direction that is kept; 0: none.")
        .range("in [0, 1)")
        .unit("share")
        .of(&["sgd"])
        .or("0.0"),
    Key::new("optimizer.nesterov", Takes::YesNo, "Nesterov's momentum, which needs a momentum above 0.")
        .of(&["sgd"])
        .or("false")
        .source(NESTEROV),
    Key::new("optimizer.momentum", Takes::Number, "The share of the last step's direction that is kept; 0: none.")
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
        "Newton-Schulz iterations, which make the singular values of a step nearly equal.",
    )
    .range("from 1 to 99")
    .of(MUON_ALONE)
    .or("5")
    .source(MUON),
    Key::new(
        "optimizer.filter_norm",
        Takes::YesNo,
        "Whether each matrix is brought to the norm sqrt(rows) before each step: filters then have a mean norm of 1, and the \
         rate is a share of that. For networks in which a norm follows each convolution.",
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
    Key::new("optimizer.eps", Takes::Number, "Added to the denominator.").range("above 0").of(ADAMS).or("1e-8").source(ADAM),
    Key::new("optimizer.weight_decay", Takes::Number, "Added to the gradient: this share of the weight.")
        .range("of 0 or more")
        .of(&["sgd", "adam"])
        .or("0.0"),
    Key::new("optimizer.weight_decay", Takes::Number, "In each step a weight shrinks by the share lr * weight_decay.")
        .range("of 0 or more")
        .of(&["adamw"])
        .or("0.0")
        .source(ADAMW),
    Key::new("optimizer.weight_decay", Takes::Number, "In each step a matrix shrinks by the share lr * weight_decay.")
        .range("of 0 or more")
        .of(MUON_ALONE)
        .or("0.0")
        .source(ADAMW),
    Key::new("optimizer.sgd.lr", Takes::Number, "Its learning rate where Muon's is optimizer.lr; the two rise and fall together.")
        .range("of 0 or more")
        .of(MUON_ALONE)
        .or("0.01"),
    Key::new("optimizer.sgd.momentum", Takes::Number, "The share of the last step's direction that is kept; 0: none.")
        .range("in [0, 1)")
        .unit("share")
        .of(MUON_ALONE)
        .or("0.9"),
    Key::new("optimizer.sgd.nesterov", Takes::YesNo, "Nesterov's momentum, which needs a momentum above 0.")
        .of(MUON_ALONE)
        .or("true")
        .source(NESTEROV),
    Key::new("optimizer.sgd.weight_decay", Takes::Number, "Added to the gradient: this share of the weight.")
        .range("of 0 or more")
        .of(MUON_ALONE)
        .or("0.0"),
    Key::new("param_groups.pattern", Takes::Text, "Which parameters, by name: * stands for any characters, as in layer4.*"),
    Key::new("param_groups.n_dims", Takes::Whole, "Only parameters with this many dimensions; 1: biases, and those of norms.")
        .or_else("any number"),
    Key::new("param_groups.lr_factor", Takes::Number, "Multiplies the learning rate; 0 keeps the weights as they are.")
        .range("of 0 or more")
        .or("1.0")
        .source("https://arxiv.org/abs/1801.06146"),
    Key::new("param_groups.weight_decay", Takes::Number, "The weight decay in place of the optimiser's.")
        .range("of 0 or more")
        .or_else("the optimiser's"),
    Key::new(
        "param_groups.optimizer",
        Takes::Choice(&["sgd"]),
        "What changes them in place of Muon, with the settings of optimizer.sgd: with optimizer.kind = muon alone, for a head, \
         as an example.",
    )
    .or_else("Muon for what is a matrix, SGD for the rest; another optimiser for all"),
    Key::new(
        "param_groups.until_epoch",
        Takes::Number,
        "For how long they learn: the rate falls on a straight line from its base times lr_factor to 0 at this epoch, in place \
         of the schedule and its warm-up, and the weights stay from there on.",
    )
    .range("above 0")
    .unit("epochs")
    .or_else("they learn as long as the run, by the schedule")
    .source(AIRBENCH),
    Key::new(
        "schedule.kind",
        Takes::Choice(&["constant", "step", "cosine", "one_cycle", "linear"]),
        "How the rate goes: as it is, down in steps, half a cosine down, up and down again, or straight down.",
    ),
    Key::new("schedule.warmup_epochs", Takes::Number, "The rate rises from 0 in a straight line for so long, before all else.")
        .range("of 0 or more")
        .unit("epochs")
        .or("0.0")
        .source("https://arxiv.org/abs/1706.02677"),
    Key::new("schedule.every_epochs", Takes::Whole, "How long each rate holds.")
        .range("of 1 or more")
        .unit("epochs")
        .of(&["step"])
        .or("10")
        .source(STEP),
    Key::new("schedule.gamma", Takes::Number, "What each rate is of the one before.")
        .range("above 0")
        .of(&["step"])
        .or("0.1")
        .source(STEP),
    Key::new("schedule.horizon_epochs", Takes::Number, "Where the schedule ends, from the start of training.")
        .range("above schedule.warmup_epochs")
        .unit("epochs")
        .of(WITH_HORIZON)
        .or_else("with the run"),
    Key::new("schedule.peak_at", Takes::Number, "Where the rate is at its highest, as a share of the cycle.")
        .range("between 0 and 1")
        .unit("share")
        .of(&["one_cycle"])
        .or("0.25")
        .source(ONE_CYCLE),
    Key::new("schedule.initial_factor", Takes::Number, "What the rate is multiplied by at the start of the cycle.")
        .range("of 0 or more")
        .of(&["one_cycle"])
        .or("0.05")
        .source(ONE_CYCLE),
    Key::new("schedule.final_factor", Takes::Number, "What the rate is multiplied by at the end.")
        .range("of 0 or more")
        .of(WITH_HORIZON)
        .or("0.0")
        .source(COSINE),
    Key::new("extensions.from_epoch", Takes::Whole, "Epochs before it.").unit("epochs"),
    Key::new("extensions.to_epoch", Takes::Whole, "Epochs at its end, more than from_epoch.").unit("epochs"),
    Key::new(
        "extensions.factor",
        Takes::Number,
        "The share of optimizer.lr that it begins with, from where the rate falls on a straight line to the schedule's end.",
    )
    .range("of 0 or more"),
    Key::new(
        "averaging.kind",
        Takes::Choice(&["ema", "last_epochs"]),
        "An exponential moving average after each step, or the mean of the weights at the end of each of the last epochs.",
    )
    .or("\"ema\""),
    Key::new("averaging.decay", Takes::Number, "The share that a step leaves of the average; less in the first steps.")
        .range("in [0, 1)")
        .unit("share")
        .of(&["ema"])
        .or("0.999")
        .source("https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage"),
    Key::new("averaging.epochs", Takes::Whole, "How many of the last epochs.")
        .range("of 1 or more")
        .unit("epochs")
        .of(&["last_epochs"])
        .or("5")
        .source("https://arxiv.org/abs/1803.05407"),
    Key::new("evaluation.flip", Takes::YesNo, "Logits are averaged over a picture and its mirror image: twice the time.")
        .or("false")
        .source(SPEEDRUN),
    Key::new(
        "evaluation.shift_px",
        Takes::Whole,
        "Logits are averaged over a picture and itself shifted by this much, up to the left and down to the right, which together \
         weigh as much: three times the time; 0: not.",
    )
    .unit("px")
    .or("0")
    .source(SPEEDRUN),
    Key::new("callbacks.early_stopping.monitor", MONITOR, "The reading that decides.")
        .or("\"val_loss\"")
        .source(EARLY_STOPPING),
    Key::new("callbacks.early_stopping.patience", Takes::Whole, "How many epochs in a row without a gain end the run.")
        .unit("epochs")
        .or("10")
        .source(EARLY_STOPPING),
    Key::new("callbacks.early_stopping.min_delta", Takes::Number, "A gain counts only if it is greater than this.")
        .range("of 0 or more")
        .unit("the reading's own")
        .or("0.0")
        .source(EARLY_STOPPING),
    Key::new(
        "callbacks.early_stopping.restore_best_weights",
        Takes::YesNo,
        "Whether the run ends with the weights of its best epoch instead of its last, stopped early or not.",
    )
    .or("true")
    .source(EARLY_STOPPING),
    Key::new("callbacks.reduce_lr_on_plateau.monitor", MONITOR, "The reading that decides.")
        .or("\"val_loss\"")
        .source(PLATEAU),
    Key::new("callbacks.reduce_lr_on_plateau.factor", Takes::Number, "What the rate is multiplied by.")
        .range("between 0 and 1")
        .or("0.1")
        .source(PLATEAU),
    Key::new("callbacks.reduce_lr_on_plateau.patience", Takes::Whole, "How many epochs in a row without a gain lower the rate.")
        .unit("epochs")
        .or("10")
        .source(PLATEAU),
    Key::new("callbacks.reduce_lr_on_plateau.min_delta", Takes::Number, "A gain counts only if it is greater than this.")
        .range("of 0 or more")
        .unit("the reading's own")
        .or("0.0001")
        .source(PLATEAU),
    Key::new("callbacks.reduce_lr_on_plateau.cooldown", Takes::Whole, "How many epochs after a reduction are not counted.")
        .unit("epochs")
        .or("0")
        .source(PLATEAU),
    Key::new("callbacks.reduce_lr_on_plateau.min_lr", Takes::Number, "The rate goes no lower than this.")
        .range("of 0 or more")
        .or("0.0")
        .source(PLATEAU),
];
