//! Texts for a terminal, the model card, and figures for other programs.

mod card;
mod comparison;
mod confusion;
mod figures;
mod runs;

pub use card::model_card;
pub use comparison::comparison_text;
pub use confusion::confusion_text;
pub use figures::{ComparisonFigures, PairFigures, RunFigures, comparison_figures};
pub use runs::{ListedRun, runs_text};
