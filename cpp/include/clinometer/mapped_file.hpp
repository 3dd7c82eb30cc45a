// A read-only memory map that survives its file: if the file shrinks under us, the faulting range is
// replaced by zero pages and a flag is set instead of the process dying of SIGBUS. The handler acts on
// addresses in registered ranges only and chains to the handler that was there before.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace clinometer {

class dump_changed : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class MappedFile {
 public:
  /// Maps a plain file; throws std::system_error with errno, std::invalid_argument for anything else.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  const std::string& path() const { return path_; }
  /// Throws dump_changed if a fault was caught, or size, mtime or inode differ from when it was opened.
  void check() const;
  /// Unmaps the pages read so far, which count as memory of this process; a later read maps them again.
  void release() const;

 private:
  std::string path_;
  int slot_ = -1;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::int64_t mtime_s_ = 0, mtime_ns_ = 0;
  std::uint64_t inode_ = 0, device_ = 0;
  void close();
};

}  // namespace clinometer
