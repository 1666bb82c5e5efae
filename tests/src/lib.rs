//! Placeholder of shared test code: filled by the end-to-end tests.
