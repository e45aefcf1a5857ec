"""What the harvest stage needs beside its engine: hero rules, alpha at full resolution, honest names."""
