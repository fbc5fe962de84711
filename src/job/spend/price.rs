//! What a unit costs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Units;

/// An amount of money, for display.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Money {
    pub amount: f64,
    pub currency: String,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} {}", self.amount, self.currency)
    }
}

/// `spend.unit_price`: what one unit costs.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitPrice {
    amount: f64,
    currency: String,
}

impl UnitPrice {
    #[must_use]
    pub fn of(&self, units: Units) -> Money {
        Money { amount: units.approximate() * self.amount, currency: self.currency.clone() }
    }
}

impl FromStr for UnitPrice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be an amount and a currency, such as \"0.14 USD\"".to_owned();
        let (amount, currency) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let currency = currency.trim();
        let is_currency =
            (1..=8).contains(&currency.chars().count()) && !currency.contains(char::is_whitespace);
        // A plain decimal number, as units are.
        let amount: Units = amount.parse().map_err(|_| wrong())?;
        if !is_currency {
            return Err(wrong());
        }
        Ok(Self { amount: amount.approximate(), currency: currency.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_turns_units_into_money() {
        let price: UnitPrice = "0.14 USD".parse().unwrap();
        assert_eq!(price.of(Units::whole(96)).to_string(), "13.44 USD");
        for text in ["", "0.14", "USD 0.14", "-1 USD", "1 U S D", "0,14 EUR"] {
            assert!(text.parse::<UnitPrice>().is_err(), "{text}");
        }
    }
}
