// Posts an observation with two JPEG files to a Turbo-Pi server, over HTTP with libcurl, and prints the answer.
//
//   c++ -std=c++17 -O2 examples/cpp/infer.cpp -lcurl -o infer && ./infer http://127.0.0.1:8000

#include <curl/curl.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// RFC 4648 §4.
std::string base64(const std::string& bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) text += i <= count ? digits[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

/// A JSON string. The text is UTF-8 already.
std::string quoted(const std::string& text) {
  static const char hex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\') result += '\\', result += letter;
    else if (code < 0x20) result += std::string("\\u00") + hex[code >> 4] + hex[code & 15];
    else result += letter;
  }
  return result + '"';
}

std::size_t append(char* data, std::size_t, std::size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, count);
  return count;
}

/// One connection to the server; it stays open between calls. Throws std::runtime_error for what is no answer.
class Policy {
 public:
  explicit Policy(const std::string& server, const char* api_key) : curl_(curl_easy_init(), curl_easy_cleanup) {
    if (!curl_) throw std::runtime_error("libcurl cannot start");
    add_header("content-type: application/json");
    if (api_key) add_header("authorization: Api-Key " + std::string(api_key));
    curl_easy_setopt(curl_.get(), CURLOPT_URL, (server + "/infer").c_str());
    curl_easy_setopt(curl_.get(), CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(curl_.get(), CURLOPT_WRITEFUNCTION, append);
    // Every call ends: a robot must not wait for a network that has gone.
    curl_easy_setopt(curl_.get(), CURLOPT_CONNECTTIMEOUT_MS, 3000L);
    curl_easy_setopt(curl_.get(), CURLOPT_TIMEOUT_MS, 10000L);
    curl_easy_setopt(curl_.get(), CURLOPT_NOSIGNAL, 1L);
  }

  std::string infer(const std::string& observation) {
    std::string answer;
    curl_easy_setopt(curl_.get(), CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl_.get(), CURLOPT_POSTFIELDS, observation.data());
    curl_easy_setopt(curl_.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(observation.size()));
    const CURLcode code = curl_easy_perform(curl_.get());
    if (code != CURLE_OK) throw std::runtime_error(curl_easy_strerror(code));
    long status = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) throw std::runtime_error("status " + std::to_string(status) + ": " + answer);
    return answer;
  }

 private:
  void add_header(const std::string& header) {
    headers_.reset(curl_slist_append(headers_.release(), header.c_str()));
  }

  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers_{nullptr, curl_slist_free_all};
};

}  // namespace

int main(int count, char** arguments) {
  const std::string server = count > 1 ? arguments[1] : "http://127.0.0.1:8000";
  const std::string folder = count > 2 ? arguments[2] : "examples";
  curl_global_init(CURL_GLOBAL_DEFAULT);
  try {
    std::string prompt = read_file(folder + "/prompt.txt");
    prompt.erase(prompt.find_last_not_of(" \r\n") + 1);
    const std::string observation =
        "{\"observation/image\": " + quoted(base64(read_file(folder + "/image.jpg"))) +
        ", \"observation/wrist_image\": " + quoted(base64(read_file(folder + "/wrist_image.jpg"))) +
        ", \"observation/state\": " + read_file(folder + "/state.json") +
        ", \"prompt\": " + quoted(prompt) + ", \"options\": {\"num_steps\": 10, \"seed\": 7}}";
    std::cout << Policy(server, std::getenv("TURBO_PI_API_KEY")).infer(observation) << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
