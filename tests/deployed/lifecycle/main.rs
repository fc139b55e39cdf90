//! The whole life of an order in the deployed service: paid, cancelled, expired, told to everyone.
//! These tests change how long a ticket is held, so they are apart from the other end-to-end tests.

mod expiries;
mod history;
mod holds;
mod outcomes;
mod poison;
