#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

/// Just enough of a test framework: TEST("sentence") { CHECK(…); } in a file, and one main that runs them all.
namespace check {

struct Test {
  const char* name;
  std::function<void()> body;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Register {
  Register(const char* name, std::function<void()> body) { tests().push_back({name, std::move(body)}); }
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

/// Runs `body` and returns the message it threw; fails when it threw nothing.
inline std::string thrownBy(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  throw std::runtime_error("expected an exception, none came");
}

inline int runAll() {
  int failed = 0;
  for (const Test& test : tests()) {
    std::string reason;
    try {
      test.body();
    } catch (const std::exception& error) {
      reason = error.what();
      ++failed;
    }
    std::printf("%s %s%s%s\n", reason.empty() ? "ok  " : "FAIL", test.name, reason.empty() ? "" : ": ", reason.c_str());
    std::fflush(stdout);
  }
  std::printf("%zu tests, %d failed\n", tests().size(), failed);
  return failed == 0 && !tests().empty() ? 0 : 1;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST_NAMED(id, name)                                     \
  static void id();                                              \
  static const check::Register CHECK_JOIN(id, _entry)(name, id); \
  static void id()
#define TEST(name) TEST_NAMED(CHECK_JOIN(test_, __LINE__), name)
#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) check::fail(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_SAYS(text, part)                                                                            \
  do {                                                                                                    \
    const std::string checked_ = (text);                                                                  \
    if (checked_.find(part) == std::string::npos)                                                         \
      check::fail(__FILE__, __LINE__, "\"" + checked_ + "\" does not say \"" + std::string(part) + "\""); \
  } while (false)
