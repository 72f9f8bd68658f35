//! The costs of errors, and the decision with the lowest cost.
//!
//! `costs_toml` reads a cost table from text.

use tallow_core::Foreign;

use crate::{ConfusionMatrix, Predictions, argmax};

/// The cost of every decision: the price of every pair of a true and a predicted class, and the price of asking a person.
///
/// A correct answer costs nothing. [`from_toml`](Self::from_toml) reads a table.
#[derive(Clone, Debug, PartialEq)]
pub struct CostTable {
    pub(crate) currency: Foreign,
    pub(crate) n_classes: usize,
    pub(crate) prices: Vec<f64>, // (c, c) row-major, rows true; 0 on the diagonal
    pub(crate) ask_a_person: Option<f64>,
}

/// The decision about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The answer is this class.
    Answer(u32),
    /// A person is asked.
    Ask,
}

/// The result of a decision rule on a set of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecisionCosts {
    /// Number of images.
    pub n: u64,
    /// Number of images about which a person is asked.
    pub n_asked: u64,
    /// Number of correct answers of the model; answers of a person are not counted.
    pub n_correct: u64,
    /// Cost per 1,000 images; 0 if there are no images.
    pub cost_per_1000: f64,
}

/// The cost of one kind of error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairCost {
    /// The true class.
    pub target: usize,
    /// The predicted class.
    pub predicted: usize,
    /// Number of images.
    pub n: u64,
    /// Price of one such error.
    pub price: f64,
    /// Cost of these errors together, per 1,000 images of all classes.
    pub cost_per_1000: f64,
}

impl CostTable {
    /// Returns the currency of the prices.
    pub fn currency(&self) -> &Foreign {
        &self.currency
    }

    /// Returns the number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Returns the price of predicting `predicted` for an image of class `target`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn price(&self, target: usize, predicted: usize) -> f64 {
        self.prices[target * self.n_classes..][..self.n_classes][predicted]
    }

    /// Returns the price of asking a person, who is assumed to be right; `None` if a person cannot be asked.
    pub fn ask_a_person(&self) -> Option<f64> {
        self.ask_a_person
    }

    /// Returns the decision with the lowest expected cost: the class j with the lowest `sum_i p_i C_ij`, the first of
    /// equals, or asking a person if that is cheaper still.
    ///
    /// The decision is only as good as the probabilities: calibrate them first
    /// ([`fit_temperature`](crate::fit_temperature)).
    ///
    /// # Shapes
    /// `log_probs`: (c).
    ///
    /// # Source
    /// C. Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, equation 1.
    pub fn decide(&self, log_probs: &[f32]) -> Decision {
        let expected = self.expected(log_probs);
        let best = lowest(&expected);
        match self.ask_a_person {
            Some(price) if price < expected[best] => Decision::Ask,
            _ => Decision::Answer(best as u32),
        }
    }

    /// Returns the same as [`decide`](Self::decide), but never asks a person.
    pub fn decide_alone(&self, log_probs: &[f32]) -> Decision {
        Decision::Answer(lowest(&self.expected(log_probs)) as u32)
    }

    /// Returns the expected cost of each answer, (c).
    fn expected(&self, log_probs: &[f32]) -> Vec<f64> {
        let mut expected = vec![0.0; self.n_classes];
        for (&log_prob, prices) in log_probs.iter().zip(self.prices.chunks_exact(self.n_classes)) {
            let p = libm::exp(f64::from(log_prob));
            for (cost, price) in expected.iter_mut().zip(prices) {
                *cost += p * price;
            }
        }
        expected
    }

    /// Returns the result of `rule` on `predictions`. `rule` decides from the log-probabilities of an image.
    ///
    /// If `rule` asks a person and the table has no price for that, asking costs nothing.
    ///
    /// # Panics
    /// If `predictions` have another number of classes.
    pub fn evaluate(&self, predictions: &Predictions, rule: impl Fn(&[f32]) -> Decision) -> DecisionCosts {
        assert_eq!(
            predictions.n_classes(),
            self.n_classes,
            "predictions and cost table differ in their classes"
        );
        let mut costs =
            DecisionCosts { n: predictions.len() as u64, n_asked: 0, n_correct: 0, cost_per_1000: 0.0 };
        for (i, &target) in predictions.targets().iter().enumerate() {
            costs.cost_per_1000 += match rule(predictions.row(i)) {
                Decision::Ask => {
                    costs.n_asked += 1;
                    self.ask_a_person.unwrap_or(0.0)
                }
                Decision::Answer(class) => {
                    costs.n_correct += u64::from(class == target);
                    self.price(target as usize, class as usize)
                }
            };
        }
        costs.cost_per_1000 *= 1000.0 / costs.n.max(1) as f64;
        costs
    }

    /// Returns the result of answering every image with its most probable class.
    ///
    /// # Panics
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_argmax(&self, predictions: &Predictions) -> DecisionCosts {
        self.evaluate(predictions, |row| Decision::Answer(argmax(row).unwrap_or(0) as u32))
    }

    /// Returns the kinds of error in `matrix` that cost something, the most expensive first; ties in the order of the
    /// classes.
    ///
    /// # Panics
    /// If `matrix` has another number of classes.
    pub fn pair_costs(&self, matrix: &ConfusionMatrix) -> Vec<PairCost> {
        let per_1000 = 1000.0 / matrix.n().max(1) as f64;
        let mut pairs = Vec::new();
        for target in 0..matrix.n_classes() {
            for (predicted, &n) in matrix.row(target).iter().enumerate() {
                let price = self.price(target, predicted);
                if n > 0 && price > 0.0 {
                    pairs.push(PairCost {
                        target,
                        predicted,
                        n,
                        price,
                        cost_per_1000: n as f64 * price * per_1000,
                    });
                }
            }
        }
        pairs.sort_by(|a, b| b.cost_per_1000.total_cmp(&a.cost_per_1000)); // stable
        pairs
    }

    /// Returns the cost of the errors on each true class, per 1,000 images of all classes, (c).
    ///
    /// # Panics
    /// As [`pair_costs`](Self::pair_costs).
    pub fn class_costs(&self, matrix: &ConfusionMatrix) -> Vec<f64> {
        let mut costs = vec![0.0; self.n_classes];
        for pair in self.pair_costs(matrix) {
            costs[pair.target] += pair.cost_per_1000;
        }
        costs
    }
}

/// Returns the position of the lowest value, the first of equals; 0 if there are no values.
fn lowest(values: &[f64]) -> usize {
    (0..values.len()).reduce(|a, b| if values[b] < values[a] { b } else { a }).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error on class 1 costs ten times an error on class 0; asking a person costs 2 unless another price is given.
    fn table(ask_a_person: Option<f64>) -> CostTable {
        CostTable { currency: "EUR".into(), n_classes: 2, prices: vec![0.0, 1.0, 10.0, 0.0], ask_a_person }
    }

    fn log(probabilities: [f64; 2]) -> [f32; 2] {
        probabilities.map(|p| p.ln() as f32)
    }

    #[test]
    fn the_cheapest_answer_is_not_the_most_probable_one() {
        let decide = |p| table(None).decide(&log([p, 1.0 - p]));
        assert_eq!(decide(0.95), Decision::Answer(0)); // expected costs: 0.5 for 0, 0.95 for 1
        assert_eq!(decide(0.85), Decision::Answer(1)); // 1.5 for 0, 0.85 for 1
        let certain = table(None).decide(&[0.0, f32::NEG_INFINITY]);
        assert_eq!(certain, Decision::Answer(0));
    }

    #[test]
    fn a_person_is_asked_where_that_is_cheaper() {
        let decide = |p, ask| table(Some(ask)).decide(&log([p, 1.0 - p]));
        assert_eq!(decide(0.85, 0.8), Decision::Ask);
        assert_eq!(decide(0.85, 0.9), Decision::Answer(1));
        assert_eq!(decide(0.99, 0.8), Decision::Answer(0));
    }

    #[test]
    fn costs_are_those_of_the_decisions() {
        let log_probs = [[0.95, 0.05], [0.85, 0.15], [0.85, 0.15], [0.6, 0.4]].map(log).concat();
        let p = Predictions::new(2, vec![0, 0, 1, 1], log_probs, vec![0; 4]).unwrap();
        let argmax = table(None).evaluate_argmax(&p);
        assert_eq!((argmax.n_correct, argmax.n_asked, argmax.cost_per_1000), (2, 0, 5000.0));
        let least = table(Some(0.84)).evaluate(&p, |row| table(Some(0.84)).decide(row));
        // image 0 is answered with 0, a person is asked about images 1 and 2, and image 3 is answered with 1
        assert_eq!((least.n_correct, least.n_asked, least.cost_per_1000), (2, 2, 420.0));
    }

    #[test]
    fn what_costs_most_comes_first() {
        let matrix = ConfusionMatrix::from_counts(2, vec![50, 30, 5, 15]).unwrap();
        let pairs = table(None).pair_costs(&matrix);
        let found: Vec<_> = pairs.iter().map(|p| (p.target, p.predicted, p.n, p.cost_per_1000)).collect();
        assert_eq!(found, [(1, 0, 5, 500.0), (0, 1, 30, 300.0)]);
        assert_eq!(table(None).class_costs(&matrix), [300.0, 500.0]);
    }
}
