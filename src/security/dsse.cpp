#include "coppice/security/dsse.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/security/base64.h"
#include "coppice/security/sha256.h"

#include <nlohmann/json.hpp>

namespace coppice::security {

namespace {

struct Envelope {
    std::string payload_type;
    std::string payload;
    std::vector<std::pair<std::string, Signature>> signatures; // key id in hex, signature
};

Result<> exactly(const JsonNode& node, std::size_t members)
{
    if (!node.value().is_object() || node.value().size() != members)
        return fail(node.complain(cat("must be an object of exactly ", members, " members")));
    return {};
}

Result<std::string> base64_of(const JsonNode& node, std::string_view key)
{
    const auto member = TRY(node.get(key));
    const auto text = TRY(member.text());
    auto data = decode_base64(text);
    if (!data) return fail(member.complain(data.error().message()));
    return *std::move(data);
}

Result<Envelope> parse_envelope(std::string_view text)
{
    if (text.size() > kEnvelopeMaxBytes)
        return fail(ErrorKind::Invalid, cat("the envelope is larger than ", kEnvelopeMaxBytes, " bytes"));
    const auto document = TRY(parse_json(text));
    const JsonNode root{document};
    TRY(exactly(root, 3));
    Envelope envelope;
    envelope.payload_type = TRY(TRY(root.get("payloadType")).text());
    envelope.payload = TRY(base64_of(root, "payload"));
    if (envelope.payload.size() > kPayloadMaxBytes)
        return fail(ErrorKind::Invalid, cat("the payload is larger than ", kPayloadMaxBytes, " bytes"));
    TRY(root.each("signatures", [&](const JsonNode& node) -> Result<> {
        TRY(exactly(node, 2));
        auto key = TRY(TRY(node.get("keyid")).text());
        const auto raw = TRY(base64_of(node, "sig"));
        if (raw.size() != Signature::kBytes) return fail(node.complain("must hold a signature of 64 bytes"));
        if (envelope.signatures.size() == kSignaturesMax) return fail(node.complain("is one signature too many"));
        envelope.signatures.emplace_back(std::move(key), Signature::from_raw(raw));
        return {};
    }));
    if (envelope.signatures.empty()) return fail(ErrorKind::Invalid, "signatures: must hold at least one");
    return envelope;
}

} // namespace

std::string pre_authentication(std::string_view payload_type, std::string_view payload)
{
    return cat("DSSEv1 ", payload_type.size(), ' ', payload_type, ' ', payload.size(), ' ', payload);
}

Result<std::string> seal_document(std::string_view payload_type, std::string_view payload, const SigningKey& key)
{
    if (payload.size() > kPayloadMaxBytes)
        return fail(ErrorKind::Invalid, cat("the document to sign is larger than ", kPayloadMaxBytes, " bytes"));
    const auto signature = key.sign(pre_authentication(payload_type, payload));
    return cat(R"({"payload":")", encode_base64(payload), R"(","payloadType":)", json_quote(payload_type),
               R"(,"signatures":[{"keyid":")", key.public_key().id().hex(), R"(","sig":")",
               encode_base64(signature.raw()), R"("}]})");
}

Result<OpenedDocument> open_document(std::string_view text, std::string_view payload_type,
                                     std::span<const PublicKey> trusted)
{
    auto envelope = TRY_DOING("signed document", parse_envelope(text));
    if (envelope.payload_type != payload_type)
        return fail(ErrorKind::Denied, cat("signed document: it is of type ", envelope.payload_type.substr(0, 100),
                                           " and not of type ", payload_type));
    const auto message = pre_authentication(payload_type, envelope.payload);
    for (const PublicKey& key : trusted) {
        const std::string id = key.id().hex();
        for (const auto& [named, signature] : envelope.signatures)
            if (named == id && key.verify(message, signature))
                return OpenedDocument{.payload = std::move(envelope.payload),
                                      .digest = sha256<DocumentDigest>(message),
                                      .signer = key.id()};
    }
    return fail(Error{ErrorKind::Denied, "signed document: no trusted key has signed this"}.hint(
        cat("it names key ", envelope.signatures.front().first.substr(0, 64))));
}

Result<std::string> open_known_document(std::string_view text, std::string_view payload_type,
                                        const DocumentDigest& digest)
{
    auto envelope = TRY_DOING("signed document", parse_envelope(text));
    // The type that the envelope names says nothing: the digest covers the one that is meant.
    if (sha256<DocumentDigest>(pre_authentication(payload_type, envelope.payload)) != digest)
        return fail(ErrorKind::Corrupt, "signed document: it is another one than was vouched for");
    return std::move(envelope.payload);
}

} // namespace coppice::security
