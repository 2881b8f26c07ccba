// Looks through files of tokens for one that is not of the vocabulary: deep in a file it would end a run after hours,
// and again after each resume. A scan is as fast as the disk, and its verdict is remembered in the run's folder, so
// that a resume need not scan again what has not changed since.
#pragma once

#include <filesystem>
#include <vector>

#include "runtime/data/data_source.h"
#include "runtime/data/token_file.h"

namespace ddp {

// Bytes that check_tokens would read: of the files whose width holds more than the vocabulary; 0 where `verdict` says
// that these very files are good. Errors: data (65) where it says which token is bad, and that is so.
int64_t unchecked_bytes(const std::vector<TokenFile>& files, const std::filesystem::path& verdict);

// Errors: data (65) at the first bad token, in the order of the files, as TokenFile::read says it; io (74).
void check_tokens(const std::vector<TokenFile>& files, const DataCheck& check);

}  // namespace ddp
