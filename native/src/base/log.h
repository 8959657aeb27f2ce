#pragma once

#include <functional>
#include <string>

namespace turbopi {

enum class LogLevel { kError, kWarning, kInfo };

/// Where messages go. Called from any thread; must not throw and must not block for long.
using LogSink = std::function<void(LogLevel, const std::string&)>;

}  // namespace turbopi
