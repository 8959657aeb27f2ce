#pragma once

#include <cstdio>
#include <functional>
#include <sstream>
#include <string>

#include "base/mapped_file.h"

namespace turbopi::check {

/// Collects checks and figures, prints them as they come and writes them as JSON.
class Report {
 public:
  /// Runs one check; a throw is its failure, the returned text what was seen.
  void check(const std::string& name, const std::function<std::string()>& body) {
    std::string detail;
    bool ok = true;
    try {
      detail = body();
    } catch (const std::exception& error) {
      detail = error.what();
      ok = false;
    }
    std::printf("%s %s: %s\n", ok ? "ok  " : "FAIL", name.c_str(), detail.c_str());
    std::fflush(stdout);
    failed_ += ok ? 0 : 1;
    checks_ << (checks_.tellp() > 0 ? ",\n" : "") << "    {\"name\": " << quoted(name)
            << ", \"ok\": " << (ok ? "true" : "false") << ", \"detail\": " << quoted(detail) << "}";
  }

  void fact(const std::string& name, const std::string& value) { add(name, quoted(value)); }
  void figure(const std::string& name, double value, const std::string& unit) {
    char text[64];
    std::snprintf(text, sizeof text, "%.4g", value);
    std::printf("     %s: %s %s\n", name.c_str(), text, unit.c_str());
    std::fflush(stdout);
    add(name, "{\"value\": " + std::string(text) + ", \"unit\": " + quoted(unit) + "}");
  }

  int failed() const noexcept { return failed_; }

  void write(const std::string& path) const {
    const std::string text =
        "{\n  \"checks\": [\n" + checks_.str() + "\n  ],\n  \"figures\": {\n" + figures_.str() + "\n  }\n}\n";
    writeFileAtomically(path, nullptr, 0, text.data(), text.size());
  }

 private:
  static std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return out + "\"";
  }
  void add(const std::string& name, const std::string& value) {
    figures_ << (figures_.tellp() > 0 ? ",\n" : "") << "    " << quoted(name) << ": " << value;
  }

  std::ostringstream checks_;
  std::ostringstream figures_;
  int failed_ = 0;
};

}  // namespace turbopi::check
