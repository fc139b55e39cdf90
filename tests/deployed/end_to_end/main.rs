//! End-to-end tests of the deployed service, over HTTP with tokens, and over the bus. The module
//! `orders_tests::stack` selects the stack.

mod bad_requests;
mod orders;
mod payments;
mod races;
mod rows;
mod ticket_life;
mod tickets;
