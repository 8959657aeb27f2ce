#include <cstdio>
#include <exception>

#include "toy_files.h"

/// Writes the toy model's graphs and weights into a directory, for the tests that go through Node.
int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: toy_model_writer DIRECTORY\n");
    return 2;
  }
  try {
    turbopi::toy::writeModel(arguments[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
