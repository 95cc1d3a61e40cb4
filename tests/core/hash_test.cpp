// SHA-256 and HMAC against published vectors; the fingerprint of a dataset.
#include "core/hash.h"
#include "core/dataset.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace pergrad::test {
namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(Sha256, FipsVectors) {  // FIPS 180-4 examples (NIST, "SHA256.pdf"), and the empty message
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Hmac, Rfc4231Vectors) {
  const std::vector<uint8_t> key1(20, 0x0b);  // test case 1
  EXPECT_EQ(to_hex(hmac_sha256(key1, bytes("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256(bytes("Jefe"), bytes("what do ya want for nothing?"))),  // test case 2
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  const std::vector<uint8_t> long_key(131, 0xaa);  // test case 6
  EXPECT_EQ(to_hex(hmac_sha256(long_key, bytes("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Fingerprint, EveryFieldCounts) {
  Dataset base;
  base.height = 2;
  base.width = 3;
  base.channels = 1;
  base.label_count = 4;
  base.pixels = std::vector<uint8_t>(12, 7);
  base.labels = {0, 3};
  std::set<std::string> seen = {dataset_fingerprint(base)};
  const auto differs = [&](auto change) {
    Dataset other = base;
    change(other);
    EXPECT_TRUE(seen.insert(dataset_fingerprint(other)).second);
  };
  differs([](Dataset& d) { std::swap(d.height, d.width); });
  differs([](Dataset& d) { d.label_count = 5; });
  differs([](Dataset& d) { d.pixels[11] = 8; });
  differs([](Dataset& d) { d.labels[0] = 1; });
  differs([](Dataset& d) { d.channels = 3; });
  Dataset renamed = base;
  renamed.name = "another name for the same data";
  EXPECT_EQ(dataset_fingerprint(renamed), dataset_fingerprint(base));
}

}  // namespace
}  // namespace pergrad::test
