//! What fuzz targets run; tests of `qwenc-models` run the same on mutated seeds.

pub mod readers;
