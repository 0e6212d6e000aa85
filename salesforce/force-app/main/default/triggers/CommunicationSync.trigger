/** Announces what people write; communications are inserted once, so nothing is counted; see SharedRecords. */
trigger CommunicationSync on Communication__c (after insert, after delete, after undelete) {
    SharedRecords.handle();
}
