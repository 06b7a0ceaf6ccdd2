//! What the frame codec promises: the decoder for every byte and split, the client for every reader and writer.

mod client;
mod decode;
mod strategies;
