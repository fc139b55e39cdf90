//! The deployed service, spoken to as its users do: over HTTP, with tokens, and through the bus.
//! `orders_tests::stack` says which stack it is.

mod bad_requests;
mod orders;
mod races;
mod tickets;
