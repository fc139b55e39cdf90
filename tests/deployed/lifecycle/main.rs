//! The whole life of an order in the deployed service: payment, cancellation, expiry, events. These
//! tests change the hold, so they are separate from the other end-to-end tests.

mod expiries;
mod history;
mod holds;
mod late_payments;
mod outcomes;
mod poison;
mod races;
