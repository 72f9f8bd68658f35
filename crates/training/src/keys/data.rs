//! The keys for loading and changing images: `[data]`, `[augment]`, `[mix]`.

use tallow_core::keys::{Key, Takes};

const JITTER: &str =
    "https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.ColorJitter.html";
const RESIZED_CROP: &str =
    "https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.RandomResizedCrop.html";

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "data.dataset",
        Takes::Text,
        "auto, cifar10, cifar100, cifar100-coarse, sample, or the path of a folder, a table of labels (.csv) or an archive.",
    )
    .or("\"auto\""),
    Key::new("data.data_dir", Takes::Path, "Where data sets lie.").or("\"data\""),
    Key::new("data.val_fraction", Takes::Number, "The share of the training images that is kept for validation; 0: none.")
        .range("in [0, 1)")
        .unit("share")
        .or("0.1"),
    Key::new(
        "data.validate_on",
        Takes::Choice(&["split", "test"]),
        "What validation looks at: a part of the training images, or the test images, which makes the test score dishonest.",
    )
    .or("\"split\""),
    Key::new("data.train_subset", Takes::Whole, "Train on this many images only, as equal over the classes as can be.")
        .range("of 1 or more")
        .unit("images")
        .or_else("all of them"),
    Key::new(
        "data.folds",
        Takes::Whole,
        "Cross-validation: how many parts are held out in turn, each tested by a model that was trained on the others; 0: none. \
         The model of the run is then trained on all, less what stopping early needs.",
    )
    .range("0, or 2 or more")
    .unit("folds")
    .or("0"),
    Key::new(
        "data.fold",
        Takes::Whole,
        "Hold out this one of the folds alone, as the test: what the run of a fold has in its recipe. Such a run keeps no model.",
    )
    .range("from 1 to data.folds")
    .or_else("all of them in turn"),
    Key::new("data.drop_last", Takes::YesNo, "Leave out a last batch that is not full.").or("false"),
    Key::new(
        "data.size_factors",
        Takes::Numbers(0),
        "Progressive resizing: the sizes of the training images in the first epochs, as shares of the model's; later epochs, \
         validation and test have the whole size.",
    )
    .range("in (0, 1]")
    .unit("share")
    .or("[]")
    .source("https://arxiv.org/abs/2104.00298"),
    Key::new(
        "data.fit",
        Takes::Choice(&["squash", "crop", "pad"]),
        "How pictures of another size come to the model's: whole and squashed, the centre cropped, or padded with white.",
    )
    .or_else("as the weights were trained, else squash"),
    Key::new(
        "data.interpolation",
        Takes::Choice(&["bilinear", "bicubic", "linear"]),
        "What lies between pixels when pictures are resized. linear: between the nearest pixels only, in f32.",
    )
    .or_else("as the weights were trained, else bilinear; linear where images in memory are smaller than the model's"),
    Key::new("data.crop_fraction", Takes::Number, "With data.fit = crop: which share of the shorter side is seen.")
        .range("above 0 and up to 1")
        .unit("share")
        .or_else("as the weights were trained, else 1"),
    Key::new(
        "data.test_fraction",
        Takes::Number,
        "The share of the pictures that the test gets, where a data set of files has no part for it.",
    )
    .range("between 0 and 1")
    .unit("share")
    .or("0.2"),
    Key::new("data.skip_bad", Takes::YesNo, "Whether up to 1 % of a data set's files may be damaged, and are left out.")
        .or("false"),
    Key::new("data.file_column", Takes::Text, "The column of a table of labels that names the pictures.")
        .or_else("found by its name"),
    Key::new("data.label_column", Takes::Text, "The column of a table of labels that has the classes.")
        .or_else("found by its name"),
    Key::new("data.split_column", Takes::Text, "The column of a table of labels that says what a picture is for.")
        .or_else("found by its name"),
    Key::new("data.normalization.mean", Takes::Numbers(3), "What is taken off red, green and blue.")
        .unit("of pixels in 0 to 1")
        .or("[0.0, 0.0, 0.0]"),
    Key::new("data.normalization.std", Takes::Numbers(3), "What red, green and blue are then divided by.")
        .range("above 0")
        .unit("of pixels in 0 to 1")
        .or("[1.0, 1.0, 1.0]"),
    Key::new(
        "augment.flip",
        Takes::Choice(&["none", "random", "alternate"]),
        "Whether images are mirrored left to right: never, at random, or by turns, so that two epochs show both sides.",
    )
    .or("\"none\"")
    .source("https://arxiv.org/abs/2404.00498"),
    Key::new(
        "augment.crop_padding_px",
        Takes::Whole,
        "Images are padded by this much on every side, and a crop of the old size is taken at a random place; 0: none.",
    )
    .range("below the image's size")
    .unit("px")
    .or("0")
    .source("https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.RandomCrop.html"),
    Key::new(
        "augment.crop_fill",
        Takes::Choice(&["zero", "reflect"]),
        "What is seen beyond the image, in the padding and where it was turned, zoomed or shifted: black, or the image \
         reflected.",
    )
    .or("\"zero\""),
    Key::new("augment.cutout_px", Takes::Whole, "The side of a square at a random place that is set to the mean; 0: none.")
        .range("up to the image's size")
        .unit("px")
        .or("0")
        .source("https://arxiv.org/abs/1708.04552"),
    Key::new(
        "augment.random_resized_crop.scale",
        Takes::Numbers(2),
        "The least and the largest share of the image's area that is enlarged to its whole size.",
    )
    .range("above 0 and up to 1, the smaller first")
    .unit("share")
    .or("[0.08, 1.0]")
    .source(RESIZED_CROP),
    Key::new("augment.random_resized_crop.ratio", Takes::Numbers(2), "The least and the largest width / height of that part.")
        .range("above 0 and up to 100, the smaller first")
        .or("[0.75, 1.3333333333333333]")
        .source(RESIZED_CROP),
    Key::new("augment.rotation_deg", Takes::Number, "The image is turned about its centre by an angle in +- this.")
        .range("in [0, 180]")
        .unit("degrees")
        .or("0.0"),
    Key::new("augment.zoom", Takes::Number, "The image is enlarged about its centre by a factor in 1 +- this.")
        .range("in [0, 0.9]")
        .or("0.0"),
    Key::new("augment.shift", Takes::Number, "The image is shifted by up to this share of its height and width.")
        .range("in [0, 1]")
        .unit("share")
        .or("0.0"),
    Key::new("augment.brightness", Takes::Number, "Values are multiplied by a factor in 1 +- this.")
        .range("in [0, 10]")
        .or("0.0")
        .source(JITTER),
    Key::new("augment.contrast", Takes::Number, "Differences to the image's mean grey are multiplied by a factor in 1 +- this.")
        .range("in [0, 10]")
        .or("0.0")
        .source(JITTER),
    Key::new("augment.saturation", Takes::Number, "Differences to each pixel's grey are multiplied by a factor in 1 +- this.")
        .range("in [0, 10]")
        .or("0.0")
        .source(JITTER),
    Key::new(
        "augment.random_erasing",
        Takes::Number,
        "The probability that a rectangle of 2 to 33 % of the image is set to the mean.",
    )
    .range("in [0, 1]")
    .unit("probability")
    .or("0.0")
    .source("https://arxiv.org/abs/1708.04896"),
    Key::new("mix.mixup_alpha", Takes::Number, "Mixup: the share of the other image is drawn from Beta(alpha, alpha); 0: no mixup.")
        .range("0, or in [0.001, 1000]")
        .or("0.0")
        .source("https://arxiv.org/abs/1710.09412"),
    Key::new(
        "mix.cutmix_alpha",
        Takes::Number,
        "Cutmix: the share of the area that shows the other image is drawn from Beta(alpha, alpha); 0: no cutmix. With both, \
         each batch tosses a coin.",
    )
    .range("0, or in [0.001, 1000]")
    .or("0.0")
    .source("https://arxiv.org/abs/1905.04899"),
];
