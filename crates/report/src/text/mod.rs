//! Texts: for a terminal, and the model card.

mod card;
mod comparison;
mod confusion;

pub use card::model_card;
pub use comparison::comparison_text;
pub use confusion::confusion_text;
