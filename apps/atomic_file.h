// Files that are either the old one or the new one, never half of one; errors that name the file in one
// line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace pergrad::apps {

// `text` as one printable line: control characters and bytes that are not UTF-8 become \xNN. Every path and
// every name found on disk goes through here on its way into a message or into JSON.
std::string printable(std::string_view text);
inline std::string shown(const std::filesystem::path& path) { return printable(path.native()); }

// "cannot open PATH: No such file or directory" for `what` = "open" and `error` = an errno.
std::string file_error(std::string_view what, const std::filesystem::path& path, int error);

// Whether there is something, a folder, at `path` (links are followed).
//   THROWS: Error if that cannot be told (permission, a loop of links).
bool path_exists(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

// The whole of a file, or of a pipe.
//   THROWS: Error; also for a device, which may have no end.
std::string read_file(const std::filesystem::path& path);

// Makes `path` hold exactly `bytes`, durably: a temporary file in the same folder is written, synced and
// renamed over it, then the folder is synced. The mode of an old file is kept; a symbolic link is followed.
//   THROWS: Error (path and reason, e.g. "No space left on device"). Until the rename the old file is intact
//   and the temporary one is removed; only a failure to sync the folder comes after it.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);
void write_file_atomically(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// Writes a file that nobody relies on yet (inside a folder that is renamed later): no temporary, no sync.
//   REQUIRES: `path` does not exist.   THROWS: Error; the file is removed.
void write_new_file(const std::filesystem::path& path, std::string_view bytes);

// Makes what was written to a folder, and the names in it, durable.
//   THROWS: Error.
void sync_folder(const std::filesystem::path& folder);

}  // namespace pergrad::apps
