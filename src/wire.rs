//! PURE: the backend's documents, and what its answers mean.
