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
        "The data set: auto, cifar10, cifar100, cifar100-coarse, sample, or the path of a folder, a table \
         of labels (.csv) or an archive.",
    )
    .or("\"auto\""),
    Key::new("data.data_dir", Takes::Path, "Folder of data sets.").or("\"data\""),
    Key::new(
        "data.val_fraction",
        Takes::Number,
        "The share of the training images that is kept for validation; 0: none.",
    )
    .range("in [0, 1)")
    .unit("share")
    .or("0.1"),
    Key::new(
        "data.validate_on",
        Takes::Choice(&["split", "test"]),
        "The images for validation: a part of the training images (split), or the test images (test). With \
         test, the test score is not honest.",
    )
    .or("\"split\""),
    Key::new(
        "data.train_subset",
        Takes::Whole,
        "Number of images to train on, balanced over the classes as far as possible.",
    )
    .range("of 1 or more")
    .unit("images")
    .or_else("all images"),
    Key::new(
        "data.folds",
        Takes::Whole,
        "Cross-validation: the number of parts. Each part is held out in turn and tested by a model that \
         was trained on the others; 0: none. The run's own model is then trained on all images, except \
         those that early stopping needs.",
    )
    .range("0, or 2 or more")
    .unit("folds")
    .or("0"),
    Key::new(
        "data.fold",
        Takes::Whole,
        "Hold out only this fold, as the test; the recipe of a fold's run has this key. Such a run keeps no \
         model.",
    )
    .range("from 1 to data.folds")
    .or_else("all folds in turn"),
    Key::new("data.drop_last", Takes::YesNo, "Whether a last batch that is not full is left out.")
        .or("false"),
    Key::new(
        "data.size_factors",
        Takes::Numbers(0),
        "Progressive resizing: the sizes of the training images in the first epochs, as shares of the \
         model's size. Later epochs, validation and test use the full size.",
    )
    .range("in (0, 1]")
    .unit("share")
    .or("[]")
    .source("https://arxiv.org/abs/2104.00298"),
    Key::new(
        "data.fit",
        Takes::Choice(&["squash", "crop", "pad"]),
        "How pictures of another size are resized to the model's size: squash the whole picture, crop the \
         centre, or pad with white.",
    )
    .or_else("as the weights were trained, else squash"),
    Key::new(
        "data.interpolation",
        Takes::Choice(&["bilinear", "bicubic", "linear"]),
        "Interpolation when pictures are resized. linear: between the nearest pixels only, in f32.",
    )
    .or_else(
        "as the weights were trained, else bilinear; linear if images in memory are smaller than the \
         model's size",
    ),
    Key::new(
        "data.crop_fraction",
        Takes::Number,
        "With data.fit = crop: the share of the shorter side that is kept.",
    )
    .range("above 0 and up to 1")
    .unit("share")
    .or_else("as the weights were trained, else 1"),
    Key::new(
        "data.test_fraction",
        Takes::Number,
        "The share of the pictures for the test, if a data set of files has no test part.",
    )
    .range("between 0 and 1")
    .unit("share")
    .or("0.2"),
    Key::new(
        "data.skip_bad",
        Takes::YesNo,
        "Whether damaged files of a data set are left out, up to 1 % of all.",
    )
    .or("false"),
    Key::new("data.file_column", Takes::Text, "The column with the file names in a table of labels.")
        .or_else("found by its name"),
    Key::new("data.label_column", Takes::Text, "The column with the classes in a table of labels.")
        .or_else("found by its name"),
    Key::new(
        "data.split_column",
        Takes::Text,
        "The column with the split of each picture in a table of labels.",
    )
    .or_else("found by its name"),
    Key::new(
        "data.normalization.mean",
        Takes::Numbers(3),
        "Mean that is subtracted from red, green and blue.",
    )
    .unit("of pixels in 0 to 1")
    .or("[0.0, 0.0, 0.0]"),
    Key::new(
        "data.normalization.std",
        Takes::Numbers(3),
        "Standard deviation by which red, green and blue are then divided.",
    )
    .range("above 0")
    .unit("of pixels in 0 to 1")
    .or("[1.0, 1.0, 1.0]"),
    Key::new(
        "augment.flip",
        Takes::Choice(&["none", "random", "alternate"]),
        "Whether images are mirrored left to right: never, at random, or alternately, so that two epochs \
         show both sides.",
    )
    .or("\"none\"")
    .source("https://arxiv.org/abs/2404.00498"),
    Key::new(
        "augment.crop_padding_px",
        Takes::Whole,
        "Padding on every side of the image; then a crop of the original size is taken at a random place; \
         0: none.",
    )
    .range("below the image's size")
    .unit("px")
    .or("0")
    .source("https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.RandomCrop.html"),
    Key::new(
        "augment.crop_fill",
        Takes::Choice(&["zero", "reflect"]),
        "Fill beyond the image's edge, in the padding and after turning, zooming or shifting: black, or the \
         reflected image.",
    )
    .or("\"zero\""),
    Key::new(
        "augment.cutout_px",
        Takes::Whole,
        "Side of a square at a random place; the square is set to the mean; 0: none.",
    )
    .range("up to the image's size")
    .unit("px")
    .or("0")
    .source("https://arxiv.org/abs/1708.04552"),
    Key::new(
        "augment.random_resized_crop.scale",
        Takes::Numbers(2),
        "The smallest and the largest share of the image's area that is enlarged to the whole size.",
    )
    .range("above 0 and up to 1, the smaller first")
    .unit("share")
    .or("[0.08, 1.0]")
    .source(RESIZED_CROP),
    Key::new(
        "augment.random_resized_crop.ratio",
        Takes::Numbers(2),
        "The smallest and the largest width / height of that part.",
    )
    .range("above 0 and up to 100, the smaller first")
    .or("[0.75, 1.3333333333333333]")
    .source(RESIZED_CROP),
    Key::new(
        "augment.rotation_deg",
        Takes::Number,
        "The image is turned about its centre by a random angle of up to this, in either direction.",
    )
    .range("in [0, 180]")
    .unit("degrees")
    .or("0.0"),
    Key::new(
        "augment.zoom",
        Takes::Number,
        "The image is enlarged about its centre by a random factor in 1 +- this.",
    )
    .range("in [0, 0.9]")
    .or("0.0"),
    Key::new(
        "augment.shift",
        Takes::Number,
        "The image is shifted at random by up to this share of its height and width.",
    )
    .range("in [0, 1]")
    .unit("share")
    .or("0.0"),
    Key::new("augment.brightness", Takes::Number, "Values are multiplied by a random factor in 1 +- this.")
        .range("in [0, 10]")
        .or("0.0")
        .source(JITTER),
    Key::new(
        "augment.contrast",
        Takes::Number,
        "Differences to the image's mean grey are multiplied by a random factor in 1 +- this.",
    )
    .range("in [0, 10]")
    .or("0.0")
    .source(JITTER),
    Key::new(
        "augment.saturation",
        Takes::Number,
        "Differences to each pixel's grey are multiplied by a random factor in 1 +- this.",
    )
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
    Key::new(
        "mix.mixup_alpha",
        Takes::Number,
        "Mixup: the share of the other image is drawn from Beta(alpha, alpha); 0: no mixup.",
    )
    .range("0, or in [0.001, 1000]")
    .or("0.0")
    .source("https://arxiv.org/abs/1710.09412"),
    Key::new(
        "mix.cutmix_alpha",
        Takes::Number,
        "Cutmix: the share of the area that shows the other image is drawn from Beta(alpha, alpha); 0: no \
         cutmix. With both mixup and cutmix, each batch uses one of them at random.",
    )
    .range("0, or in [0.001, 1000]")
    .or("0.0")
    .source("https://arxiv.org/abs/1905.04899"),
];
